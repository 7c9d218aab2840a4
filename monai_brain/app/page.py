"""The page, in gradio."""

import concurrent.futures
import functools
import json
import logging
import os
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from monai_brain.app import widgets
from monai_brain.app.analysis import AnalysisRequest, Analyzer, Example, Job, place_example
from monai_brain.app.guard import visitor_of
from monai_brain.app.queue_filter import Check, is_number
from monai_brain.inference.prediction import ABSTAINED
from monai_brain.inference.session import Cancelled, Result, result_as_json
from monai_brain.io import UnreadableCase
from monai_brain.io.write import encoded_png
from monai_brain.optional import require
from monai_brain.report.overlays import heat_layer, mask_layer

logger = logging.getLogger(__name__)

INSTALL = "pip install 'monai-brain[app]'"
GROUP = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Name of an upload."""

CASES_LISTED = 500
SECONDS_TO_LOOK = 0.3
"""Between looks at how far a result is; what takes no longer is shown at once."""

EVENTS_WAITING = 32
"""Further ones are answered with 503."""

BUNDLE_WORDS = {"brain_tumor_classification": "Tumor class", "brain_tumor_segmentation": "Tumor outline"}
METHOD_HELP = "How the evidence is found. Occlusion takes some seconds for each slice."

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported, here and nowhere else

FILES = Path(__file__).parent / "files"


def build_page(desk: Analyzer, examples: Sequence[Example], max_upload_mb: int) -> Any:
    """The page as gradio's Blocks, with its queue.

    Args:
        desk: computes what is asked for.
        examples: offered as buttons.
        max_upload_mb: said to visitors.
    """
    gr = require("gradio", feature="the web page", install=INSTALL)
    # a value that no choice has is its sender's fault, and leaves no traceback
    gr.Error.print_exception = property(lambda error: False, lambda error, value: None)
    handlers = _Handlers(gr, desk, examples)
    # gradio's own HTML component compiles scripts out of text, which the guard's policy forbids
    html = functools.partial(gr.Markdown, sanitize_html=False, latex_delimiters=[], container=False)
    bundles = [(BUNDLE_WORDS.get(name, name), name) for name in desk.sessions]
    # all at once and never changed: gradio refuses a value that it has just been told to take from the choices
    ways = list(dict.fromkeys(name for session in desk.sessions.values() for name in session.methods))
    with gr.Blocks(title="MONAI Brain", analytics_enabled=False) as page:
        html(_text("header.html"), elem_id="mb-header")
        order = gr.Textbox(elem_id="mb-order", label="order", container=False)
        shown = gr.State(None)
        cancel = gr.Textbox(elem_id="mb-cancel", label="cancel", container=False)
        with gr.Row(equal_height=False, elem_id="mb-main"):
            with gr.Column(scale=4, min_width=300, elem_id="mb-asked"):
                html(_text("upload.html").replace("MEGABYTES", str(max_upload_mb)))
                bundle = gr.Radio(bundles, value=bundles[0][1], label="What to look for", visible=len(bundles) > 1)
                case = gr.Dropdown([], label="Which file", visible=False, interactive=True)
                method = gr.Radio(
                    [(widgets.METHOD_NAMES[name], name) for name in ways],
                    value=next(iter(ways), None),
                    label="Evidence",
                    info=METHOD_HELP,
                    visible=bool(desk.sessions[bundles[0][1]].methods),
                )
                html(widgets.examples([(own.words, own.gray) for own in examples]), elem_id="mb-examples")
            with gr.Column(scale=7, min_width=300, elem_id="mb-shown"):
                answer = html(widgets.welcome(), elem_id="mb-answer")
                place = gr.Slider(0, 1, 0, step=1, label="Slice", visible=False, elem_id="mb-slice")
                figure = html("", elem_id="mb-figure")
                opacity = html(_text("opacity.html"), visible=False)
                saving = html("", elem_id="mb-saving")
        everything = [shown, case, method, answer, place, figure, opacity, saving]
        private = {"api_visibility": "undocumented", "show_progress": "minimal", "show_progress_on": [answer]}
        order.change(handlers.ordered, [order, bundle, method], everything, **private)
        bundle.input(handlers.changed_bundle, [shown, bundle], everything, **private)
        case.input(handlers.changed, [shown, case, bundle, method], everything, **private)
        method.input(handlers.changed, [shown, case, bundle, method], everything, **private)
        place.input(
            handlers.moved,
            [shown, place],
            [figure, saving],
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="undocumented",
        )
        cancel.change(handlers.cancelled, [cancel], [], show_progress="hidden", api_visibility="undocumented")
    page.queue(max_size=EVENTS_WAITING, default_concurrency_limit=2, api_open=False)
    return page


def mount(app: Any, page: Any, host: str) -> Any:
    """The page as an ASGI application.

    Args:
        app: FastAPI's, empty.
        page: from `build_page`.
        host: that it will be served at.
    """
    gr = require("gradio", feature="the web page", install=INSTALL)
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "Menlo", "monospace"]
    )
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css=_text("page.css"),
        head=f"<script>{_text('page.js')}</script>",
    )


def checks_of(page: Any) -> dict[int, tuple[Check, ...]]:
    """What the inputs of each of the page's functions may be, by the function's index."""
    return {number: tuple(_check_of(own) for own in function.inputs) for number, function in page.fns.items()}


def _check_of(component: Any) -> Check:
    kind = type(component).__name__
    if kind == "Radio":
        names = {name for _, name in component.choices}
        return lambda value: value is None or (isinstance(value, str) and value in names)
    if kind == "Dropdown":
        return lambda value: value is None or (isinstance(value, int) and is_number(value))
    return {"State": lambda value: value is None, "Textbox": is_order, "Slider": is_number}[kind]


def is_order(text: Any) -> bool:
    """Whether this names an upload or an example, or cancels what is under way."""
    try:
        asked = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return False
    if not isinstance(asked, dict):
        return False
    upload = asked.get("upload")
    return (
        asked.get("cancel") is True
        or is_number(asked.get("example"))
        or (isinstance(upload, str) and GROUP.fullmatch(upload) is not None)
    )


class _Handlers:
    """What happens when something is chosen."""

    def __init__(self, gr: Any, desk: Analyzer, examples: Sequence[Example]) -> None:
        self.gr = gr
        self.desk = desk
        self.examples = examples
        # gradio hands the request to a parameter that is annotated with its class, which is known here only
        for name in ("ordered", "changed_bundle", "changed", "moved", "cancelled"):
            getattr(type(self), name).__annotations__["request"] = gr.Request

    def ordered(self, order: str, bundle: str, method: str | None, request: Any) -> Generator[list[Any]]:
        """Files came, or an example was chosen."""
        visitor = visitor_of(request.headers.get("cookie", "")) or ""
        try:
            asked = json.loads(order)
            if "example" in asked:
                example = self.examples[int(asked["example"])]
                group, rendered = place_example(self.desk.uploads, visitor, example), example.words
            else:
                group, rendered = str(asked["upload"]), ""
            cases = self.desk.cases(visitor, group)[:CASES_LISTED]
        except (UnreadableCase, ValueError, KeyError, IndexError) as error:
            yield self._refused("The upload", error)
            return
        names = [(case.id, number) for number, case in enumerate(cases)]
        shown = {"group": group, "names": [case.id for case in cases], "rendered": rendered}
        yield from self._answer(visitor, shown, 0, bundle, method, names)

    def changed(
        self, shown: Any, case: int | None, bundle: str, method: str | None, request: Any
    ) -> Generator[list[Any]]:
        """Another file of the upload, or another way to explain."""
        if not shown:
            yield self._nothing(bundle, method)
            return
        visitor = visitor_of(request.headers.get("cookie", "")) or ""
        names = [(name, number) for number, name in enumerate(shown["names"])]
        yield from self._answer(visitor, shown, int(case or 0), bundle, method, names)

    def changed_bundle(self, shown: Any, bundle: str, request: Any) -> Generator[list[Any]]:
        """Another network for the same file."""
        method = next(iter(self.desk.sessions[bundle].methods), None)
        yield from self.changed(shown, (shown or {}).get("case", 0), bundle, method, request)

    def cancelled(self, order: str, request: Any) -> None:
        """The visitor does not want to wait."""
        self.desk.cancel(visitor_of(request.headers.get("cookie", "")) or "")

    def moved(self, shown: Any, index: int, request: Any) -> list[Any]:
        """Another slice."""
        if not shown:
            return [self.gr.skip(), self.gr.skip()]
        visitor = visitor_of(request.headers.get("cookie", "")) or ""
        wanted = AnalysisRequest(visitor, shown["group"], shown["case"], shown["bundle"], shown["method"])
        try:
            result = self.desk.result(wanted)
            index = min(max(int(index), 0), len(result.positions) - 1)
            return [self._figure(wanted, result, index), self._saving(wanted, result, index)]
        except UnreadableCase as error:
            return [widgets.refused("The upload", error.code, str(error)), ""]
        except Exception:
            logger.exception("a slice could not be shown")
            return [widgets.refused("The upload", "failed", "something failed here"), ""]

    def _answer(
        self, visitor: str, shown: dict, case: int, bundle: str, method: str | None, names: list[tuple[str, int]]
    ) -> Generator[list[Any]]:
        """How far it is, as long as it takes; then the result."""
        job, seen = self.desk.begin(visitor), None
        name = names[min(case, len(names) - 1)][0]
        thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="result")
        try:
            coming = thread.submit(self._outcome, job, visitor, shown, case, bundle, method, names)
            while not concurrent.futures.wait([coming], SECONDS_TO_LOOK).done:
                if seen != (job.done, job.number):
                    seen = (job.done, job.number)
                    yield self._working(widgets.working(name, *seen))
            yield coming.result()
        finally:
            job.is_cancelled = True  # the visitor may have gone
            self.desk.end(visitor, job)
            thread.shutdown(wait=False)

    def _outcome(
        self,
        job: Job,
        visitor: str,
        shown: dict,
        case: int,
        bundle: str,
        method: str | None,
        names: list[tuple[str, int]],
    ) -> list[Any]:
        name = names[min(case, len(names) - 1)][0]
        methods = self.desk.sessions[bundle].methods
        chosen = method if method in methods else next(iter(methods), None)
        kept = {**shown, "case": case, "bundle": bundle, "method": chosen}
        wanted = AnalysisRequest(visitor, shown["group"], case, bundle, chosen)
        try:
            result = self.desk.result(wanted, job)
            figure, saving = (make(wanted, result, result.first) for make in (self._figure, self._saving))
        except Cancelled:
            return self._without_result(widgets.cancelled(), names, case, kept)
        except UnreadableCase as error:
            return self._refused(name, error, names, case, kept)
        except Exception as error:
            logger.exception("an upload could not be processed")
            return self._refused(name, error)
        update, last = self.gr.update, len(result.positions) - 1
        return [
            kept,
            update(choices=names, value=case, visible=len(names) > 1),
            self._method(methods, chosen),
            widgets.answer(result, shown["rendered"]),
            update(minimum=0, maximum=max(1, last), value=result.first, visible=last > 0),
            figure,
            update(visible=result.prediction.status != ABSTAINED),
            saving,
        ]

    def _working(self, words: str) -> list[Any]:
        skip, hidden = self.gr.skip(), self.gr.update(visible=False)
        return [skip, skip, skip, words, hidden, "", hidden, ""]

    def _refused(
        self,
        name: str,
        error: Exception,
        names: Sequence[tuple[str, int]] = (),
        case: int | None = None,
        shown: dict | None = None,
    ) -> list[Any]:
        if isinstance(error, UnreadableCase):
            words = widgets.refused(name, error.code, str(error))
        else:
            words = widgets.refused(name, "failed", "something went wrong, and nothing was stored")
        return self._without_result(words, names, case, shown)

    def _without_result(
        self, words: str, names: Sequence[tuple[str, int]], case: int | None, shown: dict | None
    ) -> list[Any]:
        update = self.gr.update
        return [
            shown,
            update(choices=list(names), value=case, visible=len(names) > 1),
            update(),
            words,
            update(visible=False),
            "",
            update(visible=False),
            "",
        ]

    def _method(self, methods: Sequence[str], chosen: str | None) -> Any:
        return self.gr.update(value=chosen, visible=True) if methods else self.gr.update(visible=False)

    def _nothing(self, bundle: str, method: str | None) -> list[Any]:
        """There is no file yet: what is seen stays, as the answer to one that is on its way may come first."""
        methods = self.desk.sessions[bundle].methods
        chosen = method if method in methods else next(iter(methods), None)
        skip = self.gr.skip()
        return [skip, skip, self._method(methods, chosen), skip, skip, skip, skip, skip]

    def _layer(self, wanted: AnalysisRequest, result: Result, index: int) -> Any:
        """What is shown over a slice, uint8 RGBA (H, W, 4); None where no class is given, which it could explain."""
        if result.prediction.status == ABSTAINED:
            return None
        if result.inputs:
            return heat_layer(self.desk.heat(wanted, index), result.grays[index].shape)
        return mask_layer(result.masks[index])

    def _figure(self, wanted: AnalysisRequest, result: Result, index: int) -> str:
        caption = widgets.caption_of(result, wanted.method)
        return widgets.figure(result, index, self._layer(wanted, result, index), caption)

    def _saving(self, wanted: AnalysisRequest, result: Result, index: int) -> str:
        gray, layer = result.grays[index], self._layer(wanted, result, index)
        links = []
        if layer is not None:
            share = layer[..., 3:] / 255 * 0.6
            blended = (gray[..., None] * (1 - share) + layer[..., :3] * share).round().astype("uint8")
            number = f"_{result.positions[index]:03d}" if result.kind == "volume" else ""
            links.append(widgets.download(f"overlay{number}.png", "image/png", encoded_png(blended), "Overlay (PNG)"))
        content = result_as_json(result, self.desk.sessions[wanted.bundle].columns).encode()
        links.append(widgets.download("result.json", "application/json", content, "Result (JSON)"))
        if mask := result.prediction.values.get("mask"):
            name = "mask.png" if result.kind == "slice" else "mask.nii.gz"
            content = (result.output / mask).read_bytes()
            links.append(widgets.download(name, "application/octet-stream", content, "Mask"))
        return f'<div class="mb-saving">{"".join(links)}</div>'


def _text(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")
