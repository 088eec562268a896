"""The decorator of every flow: ``@flow(name=...)`` takes what Prefect's takes.

Contract: a run shows in the ``lvm ui`` of this ``LVM_HOME``, however it was started, unless another Prefect server is
configured. A parameter that the flow does not take is named in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.schema_tools.validation import validate

from lvm.cli.surroundings import prefect_api
from lvm.errors import UsageError, one_line
from lvm.settings import Settings

from .runs import attempt, close_crashed, run_name

P = ParamSpec("P")
R = TypeVar("R")


class UnknownParameter(UsageError):
    """The flow does not take a parameter of this name."""


class _Flow(Flow[P, R]):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _in_running_ui():
            return super().__call__(*args, **kwargs)

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters in the types of the flow.

        Raises:
            UnknownParameter: if the flow does not take one of them, e.g. one of a schedule that an older version made.
            ParameterTypeError: if a value is not possible.
        """
        if unknown := _unknown(self, parameters):
            raise UnknownParameter(
                f"{self.name} has no parameter {', '.join(unknown)} in this version; remove it from the parameters of "
                "the run's schedule or deployment"
            )
        return super().validate_parameters(parameters)


def flow(name: str, **options: Any) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function a flow, whose runs have a name of their own, leave nothing *Running*, and say why a gate blocks.

    Args:
        name: of the flow.
        options: those of ``prefect.flow``.
    """
    ends: dict[str, Any] = {"on_crashed": [close_crashed], "on_cancellation": [close_crashed]}
    return lambda function: _Flow(attempt(function), name=name, flow_run_name=run_name, **ends, **options)


def unfit_parameters(flow: Flow[Any, Any], parameters: dict[str, Any]) -> list[str]:
    """What is wrong with stored parameters: no such parameter, or a value that the flow does not take. A line each."""
    wrong = validate(parameters, flow.parameters.model_dump(exclude_unset=True), ignore_required=True)
    return [
        *(f"no parameter {name} in this version" for name in _unknown(flow, parameters)),
        *(f"{error.json_path.removeprefix('$.')}: {one_line(error.message)}" for error in wrong),
    ]


def _unknown(flow: Flow[Any, Any], parameters: dict[str, Any]) -> list[str]:
    return sorted(parameters.keys() - flow.parameters.properties.keys())


@contextmanager
def _in_running_ui() -> Iterator[None]:
    """Use the Prefect server of a running ``lvm ui``, unless one is configured or the caller is a run itself."""
    chosen = PREFECT_API_URL.value() or FlowRunContext.get()
    api = None if chosen else prefect_api(Settings())
    with temporary_settings({PREFECT_API_URL: api} if api else {}):
        yield
