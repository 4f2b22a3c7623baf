"""The error that the command line prints: one problem, one fix, exit code 2."""

from edgepose.device.errors import DeviceError


class EdgeposeError(DeviceError):
    """A problem that the user can act on; the CLI prints it without a traceback and exits with 2."""
