"""The errors a user can read."""

from __future__ import annotations


class SafeGenError(Exception):
    """Any error that SafeGen raises on purpose; its text is for the user.

    Example:
        >>> import safegen
        >>> try:
        ...     safegen.SafetyPlan(tau=1.0)
        ... except safegen.SafeGenError as error:
        ...     print(error)
        tau: 1.0 is not allowed; allowed: a number from 0 to 0.95
    """


class InvalidValue(SafeGenError, ValueError):
    """A setting that is not allowed: names the field, the value and what is allowed.

    ``plain`` says the same, and what to do, to somebody who knows labels and no field names; the
    WebUI's page shows it. It holds nothing that a user typed, since a status page shows it too.

    Example:
        >>> import safegen
        >>> try:
        ...     safegen.SafetyPlan(weight=2)
        ... except safegen.InvalidValue as error:
        ...     print(error.field, error.value, sep=", ")
        weight, 2
    """

    def __init__(self, field: str, value: object, allowed: str, *, plain: str = "") -> None:
        self.field, self.value, self.allowed, self.plain = field, value, allowed, plain
        try:
            shown = repr(value)
        except Exception:  # a whole number of thousands of digits, which Python won't print
            shown = f"this {type(value).__name__}"
        self.shown = shown
        super().__init__(f"{field}: {shown} is not allowed; allowed: {allowed}")


def certain(answer: object, question: str) -> bool:
    """``answer``, which must be true or false: what says neither decides nothing.

    Compare the result with ``is False``, so that nothing at all does not count as no.

    Raises:
        GuardFailure: It is something else.
    """
    if not isinstance(answer, bool):
        raise GuardFailure(f"SafeGen stopped this picture: {question} came out as {answer!r}")
    return answer


class GuardFailure(SafeGenError, RuntimeError):
    """The guard did not run where it had to; the picture must not be shown.

    Example:
        >>> import safegen
        >>> def swap_the_prompt(pipe, step, timestep, state):
        ...     return {"prompt_embeds": state["prompt_embeds"] * 0.9}
        >>> try:
        ...     with safegen.guard(pipe, tau=0.0):
        ...         pipe(
        ...             "a blue star",
        ...             num_inference_steps=4,
        ...             callback_on_step_end=swap_the_prompt,
        ...             callback_on_step_end_tensor_inputs=["prompt_embeds"],
        ...         )
        ... except safegen.GuardFailure as error:
        ...     print(str(error).rpartition(": ")[2])
        the prompt's encoding was changed during the run
    """


class Unsupported(SafeGenError, RuntimeError):
    """A host, model or mode that SafeGen cannot guard; raised before anything is sampled.

    Example:
        >>> import safegen
        >>> try:
        ...     with safegen.guard(object()):
        ...         pass
        ... except safegen.Unsupported as error:
        ...     print(str(error).partition(":")[0])
        object can't be guarded
    """
