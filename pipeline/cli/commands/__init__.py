"""The commands, by what they are about; each module calls one function of `pipeline`."""
