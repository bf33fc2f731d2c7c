"""What the report page shows, gathered from a run; `stages.exports.pages` writes it."""
