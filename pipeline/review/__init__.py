"""Review in the browser: a page on this machine that shows a run, and keeps what people decide."""
