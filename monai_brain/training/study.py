"""Train several networks with several seeds, on one datalist or on the folds of a cross-validation, one by one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from monai.bundle import ConfigWorkflow

from monai_brain.data.folds import add_items, fold_datalist, read_folds
from monai_brain.io.write import write_json

KEYS = ("dataset_dir", "datalist", "folds", "also", "networks", "seeds", "options")

BUILT = (
    "training_items",
    "network",
    "loss",
    "optimizer",
    "lr_scheduler",
    "train::preprocessing",
    "validate::preprocessing",
)
"""Of a config, what is tried before any training."""


class InvalidStudy(ValueError):
    """A study file that cannot be run."""


class StudyFailed(RuntimeError):
    """A training or evaluation of a study ended with an error."""


class Training(NamedTuple):
    """One training of a study."""

    overlay: str
    seed: int
    options: Mapping[str, Any]
    fold: int | None = None
    """The one that is tested, of a cross-validation."""

    def place(self, output: Path) -> Path:
        """Its run folder."""
        folder = output / self.overlay
        return (folder if self.fold is None else folder / f"fold_{self.fold}") / f"seed_{self.seed}"


class Outcome(NamedTuple):
    """The result of a study."""

    runs: Sequence[Path]
    """Folders of the runs that are trained and evaluated."""
    failures: Sequence[str]
    """Why the others failed."""


class Study(NamedTuple):
    """A study: the runs to train."""

    bundle: Path
    dataset_dir: Path
    trainings: Sequence[Training]
    datalists: Mapping[int, Mapping[str, Any]] = {}
    """Of the folds, by the one that is tested."""


def read_study(path: Path, bundle: Path) -> Study:
    """A study's YAML file.

    `dataset_dir` and `datalist` are paths, relative to the file; `networks` a list of overlays' names, or of
    `{name: {option: value}}`; `seeds` a list ([0] by default); `options` what all trainings share. For a
    cross-validation, `folds` names a folds file (see `data.folds.read_folds`) instead of `datalist`, and `also` lists
    folds files of other sets, each beside its images, whose items train and validate too.

    Args:
        path: the file.
        bundle: folder of the bundle whose overlays are meant.

    Raises:
        InvalidStudy: with the key that is missing, unknown or wrong.
    """
    if not path.is_file():
        raise InvalidStudy(f"{path}: no such study; write one with dataset_dir, datalist and networks")
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidStudy(f"{path}: not YAML ({error})") from None
    if not isinstance(plan, dict) or not {"dataset_dir", "networks"} <= set(plan):
        raise InvalidStudy(f"{path}: needs the keys dataset_dir, datalist (or folds) and networks")
    unknown = [key for key in plan if key not in KEYS]
    if unknown:
        raise InvalidStudy(f"{path}: unknown key {unknown[0]!r}; it takes {', '.join(KEYS)}")
    if ("datalist" in plan) == ("folds" in plan):
        raise InvalidStudy(f"{path}: needs either datalist or folds, one of the two")
    dataset_dir = (path.parent / plan["dataset_dir"]).resolve()
    datalists = _datalists_of_folds(plan, path, dataset_dir) if "folds" in plan else {}
    known = {file.stem for file in (bundle / "configs" / "networks").glob("*.yaml")}
    seeds, shared = plan.get("seeds", [0]), plan.get("options") or {}
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds):
        raise InvalidStudy(f"{path}: seeds is {seeds!r}; expected a list of numbers, such as [0, 1, 2]")
    shown = {"datalist": str((path.parent / plan["datalist"]).resolve())} if "datalist" in plan else {}
    if not isinstance(plan["networks"], list):
        raise InvalidStudy(f"{path}: networks is not a list; write one overlay a line, each after a dash")
    trainings: list[Training] = []
    for name, own in _networks(plan["networks"], known, path, bundle):
        _check_options(shared, own, path)
        options = {**shown, **shared, **own}
        trainings += [Training(name, seed, options, fold) for fold in datalists or [None] for seed in seeds]
    return Study(bundle, dataset_dir, trainings, datalists)


def _networks(entries: Sequence[Any], known: set[str], path: Path, bundle: Path) -> Iterator[tuple[str, Any]]:
    """Overlays' names with their own options, each once."""
    seen: set[str] = set()
    for entry in entries:
        if not isinstance(entry, str | dict) or (isinstance(entry, dict) and len(entry) != 1):
            raise InvalidStudy(f"{path}: networks has {entry!r}; expected a name, or one name with its options")
        name, own = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        if name not in known:
            raise InvalidStudy(f"{path}: no overlay {name!r} in {bundle}; it has {', '.join(sorted(known))}")
        if name in seen:
            raise InvalidStudy(f"{path}: {name} is there twice; a study of its options needs an overlay for each")
        seen.add(name)
        yield name, own or {}


def _check_options(shared: Any, own: Any, path: Path) -> None:
    if not isinstance(shared, dict) or not isinstance(own, dict):
        raise InvalidStudy(f"{path}: options are not keys with values; write them as max_epochs: 8")
    reserved = sorted({"seed", "dataset_dir", "datalist", "output_dir"} & {*shared, *own})
    if reserved:
        raise InvalidStudy(f"{path}: {reserved[0]} cannot be set for a network; the study itself sets it")


def _datalists_of_folds(plan: Mapping[str, Any], path: Path, dataset_dir: Path) -> dict[int, dict[str, Any]]:
    folds = read_folds(path.parent / plan["folds"])
    datalists = {}
    for number in sorted({item["fold"] for item in folds["items"]}):
        datalists[number] = fold_datalist(folds, number)
        for other in plan.get("also") or []:
            place = (path.parent / other).resolve()
            add_items(datalists[number], read_folds(place), number, os.path.relpath(place.parent, dataset_dir))
    return datalists


def run_study(study: Study, output: Path, log: Callable[[str], None] = lambda line: None) -> Outcome:
    """Train and evaluate what is not finished; a stopped training is resumed.

    Every network is tried on one image before any is trained: one that does not fit is left out at once, and the
    others go on. So they do after a training that fails.

    Args:
        study: what to do.
        output: gets `NETWORK/seed_N` for each training.
        log: is given a line for each step.

    Returns:
        The runs that were finished, and what kept the others from it.

    Raises:
        InvalidStudy: a run in `output` was started with other options.
    """
    for number, datalist in study.datalists.items():
        _keep(output / f"fold_{number}.json", datalist)
    places = [(_with_datalist(training, output), training.place(output)) for training in study.trainings]
    for training, run in places:
        _keep_options(training, run)
    broken = _broken_overlays(study, [training for training, run in places if not _is_finished(run)])
    for reason in broken.values():
        log(f"left out: {reason}")
    runs, failures = [], list(broken.values())
    for number, (training, run) in enumerate(places, 1):
        if training.overlay in broken and not _is_finished(run):
            continue
        try:
            fold = "" if training.fold is None else f", fold {training.fold}"
            what = f"{number} of {len(places)}: {training.overlay}{fold}, seed {training.seed}"
            _carry_out(study, training, run, what, log)
        except StudyFailed as failure:
            log(f"failed: {failure}")
            failures.append(str(failure))
        else:
            runs.append(run)
    return Outcome(runs, failures)


def _carry_out(study: Study, training: Training, run: Path, place: str, log: Callable[[str], None]) -> None:
    if not _is_finished(run):
        log(f"training {place}")
        _train(study, training, run)
    if not is_evaluated(run):
        log(f"evaluating {place}")
        _evaluate(study, run)


def _broken_overlays(study: Study, trainings: Sequence[Training]) -> dict[str, str]:
    """Why overlays cannot be trained, by overlay; names the file and, if it is at fault, the key."""
    broken = {}
    for training in {training.overlay: training for training in trainings}.values():
        try:
            _try_out(study, training)
        except Exception as error:  # whatever a config makes go wrong
            file = _overlay(study, training)
            broken[training.overlay] = f"{file}: {_root(error)}"
    return broken


def _try_out(study: Study, training: Training) -> None:
    """Build what a training needs, but its handlers, which write; and show the network one image."""
    options = {**training.options, "seed": training.seed, "dataset_dir": str(study.dataset_dir)}
    workflow = ConfigWorkflow(
        config_file=[str(study.bundle / "configs" / "train.yaml"), str(_overlay(study, training))],
        workflow_type="train",
        logging_file=False,
        **{key: "$None" if value is None else value for key, value in options.items()},
    )
    workflow.initialize()
    workflow.parser["run"] = ["$workflow.refuse_unknown()"]
    workflow.run()
    parts = {}
    for key in BUILT:
        try:
            parts[key] = workflow.parser.get_parsed_content(key)
        except Exception as error:
            raise InvalidStudy(f"{key}: {_root(error)}") from error
    sample = parts["validate::preprocessing"](parts["training_items"][0])
    image, label = (torch.as_tensor(sample[key])[None] for key in ("image", "label"))
    network, loss = parts["network"].cpu().eval(), parts["loss"]
    if isinstance(loss, torch.nn.Module):  # its class weights are on the training's device
        loss = loss.cpu()
    try:
        with torch.no_grad():
            loss(network(image), label)
    except (RuntimeError, ValueError, IndexError) as error:
        shape = "x".join(map(str, image.shape[1:]))
        raise InvalidStudy(f"network_def: does not fit an image of {shape} or its label: {error}") from error


def _overlay(study: Study, training: Training) -> Path:
    return study.bundle / "configs" / "networks" / f"{training.overlay}.yaml"


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None and not isinstance(error, InvalidStudy):
        error = error.__cause__
    return error


def is_evaluated(run: Path) -> bool:
    """Whether the run's weights, as they are now, were scored on the test part."""
    evaluation = run / "evaluation_test" / "run.json"
    if not evaluation.is_file() or not (run / "evaluation_test" / "metrics.json").is_file():
        return False
    scored = json.loads(evaluation.read_text(encoding="utf-8"))["options"]["weights_sha256"]
    return bool(scored == json.loads((run / "run.json").read_text(encoding="utf-8"))["result"]["weights_sha256"])


def _with_datalist(training: Training, output: Path) -> Training:
    if training.fold is None:
        return training
    datalist = str((output / f"fold_{training.fold}.json").resolve())
    return training._replace(options={"datalist": datalist, **training.options})


def _keep_options(training: Training, run: Path) -> None:
    _keep(run.parent / f"{run.name}_options.json", training.options)


def _keep(path: Path, content: Mapping[str, Any]) -> None:
    """Record the study's options, or check that they have not changed since it began."""
    if not path.is_file():
        write_json(path, dict(content))
    elif json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(dict(content))):
        raise InvalidStudy(f"{path}: the study was started with other options; give those again, or another output")


def _is_finished(run: Path) -> bool:
    manifest = run / "run.json"
    return manifest.is_file() and "result" in json.loads(manifest.read_text(encoding="utf-8"))


def _train(study: Study, training: Training, run: Path) -> None:
    configs = study.bundle / "configs"
    files = [str(configs / "train.yaml"), str(configs / "networks" / f"{training.overlay}.yaml")]
    options = {**training.options, "seed": training.seed, "dataset_dir": study.dataset_dir, "output_dir": run.resolve()}
    if (run / "run.json").is_file():
        options["resume"] = True
    _bundle("training", files, options, run.parent / f"{run.name}_training.log")


def _evaluate(study: Study, run: Path) -> None:
    files = [str(study.bundle / "configs" / name) for name in ("train.yaml", "evaluate.yaml")]
    options = {"dataset_dir": study.dataset_dir, "run_dir": run.resolve()}
    _bundle("evaluating", files, options, run.parent / f"{run.name}_evaluation.log")


def _bundle(what: str, files: Sequence[str], options: Mapping[str, Any], log: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", what, "--config_file", str(list(files))]
    for key, value in options.items():
        command += [f"--{key}", "$None" if value is None else str(value)]  # MONAI ignores a plain None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise StudyFailed(f"{what} ended with exit code {status}: {' '.join(last)}. All of it: {log}")
