"""The errors that hotscan raises, and the exit code that each one ends a command with.

```
HotscanError
├── UsageError (ValueError)        exit 2   the request cannot be met as written
│   ├── ConfigError                         a setting is unknown or out of range
│   ├── ModelMismatchError                  the model was trained for another raster
│   └── RunMismatchError                    the run directory is of another layout, model, config
├── LayoutError (ValueError)       exit 3   the layout cannot be read, or is refused
└── IncompleteError (RuntimeError) exit 4   the result would be partial
```

The text of an error names the thing, its value, the limit, and a remedy that works.
"""


class HotscanError(Exception):
    """Base of every error that hotscan raises on purpose."""

    exit_code = 4


class UsageError(HotscanError, ValueError):
    """The request cannot be met as written."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, of the wrong type, or out of range."""


class ModelMismatchError(UsageError):
    """The model was trained for another raster than the one asked for."""


class RunMismatchError(UsageError):
    """The run directory belongs to another layout, model or config."""


class LayoutError(HotscanError, ValueError):
    """The layout cannot be read, or is refused."""

    exit_code = 3


class IncompleteError(HotscanError, RuntimeError):
    """The result would be partial."""

    exit_code = 4
