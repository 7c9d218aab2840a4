"""One progress bar for a whole training, or a line per epoch where there is no terminal."""

import time

from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A handler that shows epoch, loss, validation metric and the time left.

    Args:
        evaluator: whose key metric is shown after each validation.
        console: where to; by default the standard error output.
    """

    def __init__(self, evaluator: Engine, console: Console | None = None) -> None:
        self.evaluator = evaluator
        self.console = console or Console(stderr=True)
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[metric]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.loss_sum = 0.0
        self.batches = 0
        self.began = 0.0

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._tell)
        engine.add_event_handler(Events.COMPLETED, self._stop)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop_and_raise)

    def _start(self, engine: Engine) -> None:
        total = engine.state.max_epochs * engine.state.epoch_length
        self.task = self.progress.add_task(
            "training",
            total=total,
            completed=engine.state.iteration,
            epoch=engine.state.epoch,
            loss=0.0,
            metric="",
        )
        if self.console.is_terminal:
            self.progress.start()

    def _start_epoch(self, engine: Engine) -> None:
        self.loss_sum, self.batches, self.began = 0.0, 0, time.perf_counter()

    def _advance(self, engine: Engine) -> None:
        self.loss_sum += float(engine.state.output["loss"].detach())
        self.batches += 1
        loss = self.loss_sum / self.batches
        self.progress.update(self.task, advance=1, epoch=engine.state.epoch, loss=loss)

    def _tell(self, engine: Engine) -> None:
        name = self.evaluator.state.key_metric_name
        value = self.evaluator.state.metrics.get(name)
        shown = f"{name} {value:.4f}" if value is not None else ""
        self.progress.update(self.task, metric=shown)
        if not self.console.is_terminal:
            seconds = time.perf_counter() - self.began
            loss = self.loss_sum / max(1, self.batches)
            self.console.print(
                f"epoch {engine.state.epoch}/{engine.state.max_epochs}  loss {loss:.4f}  {shown}  {seconds:.0f} s",
                soft_wrap=True,
            )

    def _stop(self, engine: Engine) -> None:
        self.progress.stop()

    def _stop_and_raise(self, engine: Engine, error: BaseException) -> None:
        self.progress.stop()
        raise error
