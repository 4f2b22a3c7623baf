"""The error that a user is meant to read."""


class DeviceError(Exception):
    """A problem that the user can act on, and the action.

    problem: what is wrong, with the name and the value that it is about
    fix:     what to do about it, in the imperative
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return "{}\n  fix: {}".format(self.problem, self.fix)
