"""The experiment trackers that a run can be followed into."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .files import ReaderError

# MLflow's limits of one request.
METRICS_PER_REQUEST = 1000
PARAMETERS_PER_REQUEST = 100


@contextmanager
def reporting(service: str) -> Iterator[None]:
    """Turns what a tracker complains of into one line."""
    try:
        yield
    except (ModuleNotFoundError, ReaderError):
        raise
    except Exception as error:
        raise ReaderError(f"{service}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class Point:
    """Values at a step."""

    step: int
    values: dict[str, float]


class WeightsAndBiases:
    """A run there; `WANDB_MODE=offline` writes it to a directory that `wandb sync` sends later."""

    def __init__(self, project: str, name: str, configuration: dict[str, Any], identifier: str | None):
        import wandb

        self._run = wandb.init(project=project, name=name, config=configuration, id=identifier, resume="allow")
        self.identifier: str = self._run.id
        # Evaluations arrive after later steps of training, which the service's own counter of steps does not allow.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def send(self, points: list[Point]) -> None:
        for point in points:
            self._run.log({"step": point.step, **point.values})

    def close(self, is_finished: bool) -> None:
        self._run.finish(exit_code=0 if is_finished else 1)


class MLflow:
    """A run there, at `MLFLOW_TRACKING_URI`."""

    def __init__(self, project: str, name: str, configuration: dict[str, Any], identifier: str | None):
        import mlflow
        from mlflow.entities import Param

        self._client = mlflow.MlflowClient()
        if identifier is None:
            experiment = mlflow.set_experiment(project)
            run = self._client.create_run(experiment.experiment_id, run_name=name)
            identifier = run.info.run_id
            parameters = [Param(key, str(value)) for key, value in configuration.items()]
            for first in range(0, len(parameters), PARAMETERS_PER_REQUEST):
                self._client.log_batch(identifier, params=parameters[first : first + PARAMETERS_PER_REQUEST])
        else:
            self._client.update_run(identifier, status="RUNNING")
        self.identifier: str = identifier

    def send(self, points: list[Point]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, point.step) for point in points for key, value in point.values.items()]
        for first in range(0, len(metrics), METRICS_PER_REQUEST):
            self._client.log_batch(self.identifier, metrics=metrics[first : first + METRICS_PER_REQUEST])

    def close(self, is_finished: bool) -> None:
        self._client.set_terminated(self.identifier, "FINISHED" if is_finished else "KILLED")


TRACKERS = {"wandb": WeightsAndBiases, "mlflow": MLflow}
