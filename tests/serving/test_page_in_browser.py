"""The page in a real browser: add, look, window, ask, watch, draw, switch, break, lose and find again."""

import asyncio
import io
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import uvicorn
from PIL import Image

from medmvl.imaging import read
from medmvl.imaging.write import write_nifti
from medmvl.phantoms import make_patient, render_ct, write_dataset
from medmvl.serving.api import create_app
from medmvl.serving.settings import Limits, ServeSettings
from tests.factories.engine import tiny_engine, writes
from tests.factories.server import running

sync_api = pytest.importorskip("playwright.sync_api")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium here; `make browser` installs it"),
    pytest.mark.xdist_group("browser"),
]
ARGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--disable-dev-shm-usage"]
WAIT_MS = 60_000
REASONING, ANSWER = "There is a shadow, and it is round.", "Yes. 有结节"
BOX = "[0.25, 0.5, 0.25, 0.5, 0.75, 0.5]"
"""x, y, z of both corners, as shares of the volume."""


class Served:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self.keys = keys
        self.port = 0
        self.delay = 0.0
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        app = create_app(
            tiny_engine(), ServeSettings(page=True, keys=self.keys, limits=Limits(new_tokens=400))
        )
        self._slow_down(app.state.server.scheduler)
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_level="warning", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()

    def _slow_down(self, scheduler: Any) -> None:
        """Pieces come `delay` seconds apart, as those of a large model do."""
        stream = scheduler.stream

        async def slowly(*args: Any, **settings: Any) -> Any:
            async for piece in stream(*args, **settings):
                await asyncio.sleep(self.delay)
                yield piece

        scheduler.stream = slowly


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str, **settings: Any) -> Iterator[Any]:
    """The page in a context of its own; it must raise no error and ask nobody else for anything."""
    context = browser.new_context(
        **{"viewport": {"width": 1400, "height": 900}, "locale": "en-US", **settings}
    )
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    sync_api.expect.set_options(timeout=WAIT_MS)  # 5 s are too few for an upload on a busy machine
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: "Content Security" in said.text and problems.append(said.text))
    page.on(
        "request",
        lambda asked: asked.url.startswith((address, "blob:", "data:")) or problems.append(asked.url),
    )
    page.goto(address)
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    served.delay = 0.0
    with opened(browser, served.address) as page:
        ready(page)
        yield page


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_dataset(folder, preset="tiny", patients=2, seed=0, format="dicom")
    write_nifti(render_ct(make_patient(3, 0, "tiny")), folder / "scan.nii.gz")
    return folder


@pytest.fixture(scope="module")
def series(scans: Path) -> Path:
    return next(path.parent for path in sorted(scans.rglob("*.dcm")) if len(list(path.parent.glob("*"))) > 3)


def ready(page: Any) -> None:
    page.wait_for_selector("body[data-ready]")


def add_example(page: Any, kind: str = "volume") -> None:
    before = page.locator(".study").count()
    page.click(f"#add-{kind}")
    sync_api.expect(page.locator(".study")).to_have_count(before + 1)
    sync_api.expect(page.locator("#sliders input")).to_have_count(3 if kind == "volume" else 0)


def answered(page: Any) -> str:
    """The last answer, once it is whole."""
    page.wait_for_selector(".turn.assistant:last-child footer small")
    text: str = page.locator(".turn.assistant .words").last.inner_text()
    return text


def slice_of(page: Any, plane: str) -> int:
    return int(page.input_value(f"#slice-{plane}"))


def say(page: Any, text: str) -> None:
    """Let the server's answer be this text, as one piece."""
    page.route("**/v1/chat/completions", lambda route: answer_with(route, text))


def answer_with(route: Any, text: str) -> None:
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]})
    body = f"data: {chunk}\n\ndata: [DONE]\n\n"
    route.fulfill(status=200, content_type="text/event-stream", body=body)


def test_a_dicom_series_and_a_nifti_file_are_added_scrolled_and_windowed(
    page: Any, series: Path, scans: Path
) -> None:
    page.set_input_files("#folder", series)
    sync_api.expect(page.locator(".study")).to_have_count(1)
    depth, height, _ = read(series).shape
    sync_api.expect(page.locator("#slice-axial")).to_have_attribute("max", str(depth))
    sync_api.expect(page.locator("#slice-coronal")).to_have_attribute("max", str(height))
    page.set_input_files("#files", scans / "scan.nii.gz")
    sync_api.expect(page.locator(".study")).to_have_count(2)
    page.set_input_files("#files", sorted(series.iterdir()))  # the files of a series, chosen one by one
    sync_api.expect(page.locator(".study")).to_have_count(3)

    page.locator(".study .open").first.click()
    page.select_option("#plane", "axial")
    sync_api.expect(page.locator("#sliders input")).to_have_count(1)
    first = slice_of(page, "axial")
    page.locator("#original").hover()
    page.mouse.wheel(0, 240)
    sync_api.expect(page.locator("#slice-axial")).not_to_have_value(str(first))
    page.locator("#original").focus()
    scrolled = slice_of(page, "axial")
    page.keyboard.press("PageDown" if scrolled > 1 else "PageUp")
    sync_api.expect(page.locator("#slice-axial")).not_to_have_value(str(scrolled))

    page.select_option("#window", "lung")
    sync_api.expect(page.locator("#viewer")).to_have_attribute("data-window", "-1350,150")
    page.select_option("#drag", "windowing")
    box = page.locator("#original").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2 + 40, steps=5)
    page.mouse.up()
    sync_api.expect(page.locator("#window")).to_have_value("custom")


SLOW_LOADS = """() => {
    window.held = [];
    window.views = new Set();
    const load = niivue.Niivue.prototype.loadFromArrayBuffer;
    niivue.Niivue.prototype.loadFromArrayBuffer = async function (...given) {
        window.views.add(this);
        await new Promise((go) => window.held.push(go));
        return load.apply(this, given);
    };
}"""
"""Pixels stay on their way into the viewer until `release`."""
SMALL = [6, 16, 20]
"""Depth, height and width of a CT."""


def release(page: Any) -> None:
    """Let what is on its way into the viewer arrive, in its order, until a study is shown."""
    while page.locator("#sliders input").count() == 0:
        page.evaluate("window.held.shift()?.()")
        page.wait_for_timeout(50)


def drawn(page: Any) -> list[list[int]]:
    """The sizes of the volumes in the viewer, as depth, height and width."""
    sizes: list[list[int]] = page.evaluate(
        "[...window.views].flatMap(view => view.volumes.map(volume => volume.dims.slice(1, 4).reverse()))"
    )
    return sizes


def held(page: Any, address: str, method: str) -> list[Any]:
    """The requests that are kept from the server until a test lets them go on."""
    found: list[Any] = []
    page.route(
        address, lambda route: found.append(route) if route.request.method == method else route.fallback()
    )
    return found


def until(page: Any, condition: Any) -> Any:
    """What a condition gives once it is not empty; the browser goes on meanwhile."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not (found := condition()):
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)
    return found


def undeclared(folder: Path) -> Path:
    """A NIfTI file of `SMALL` voxels that does not say its units."""
    values = np.random.default_rng(0).integers(-1000, 400, SMALL[::-1], np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1, -1, 2, 1])), folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


@pytest.fixture
def two(page: Any, series: Path, tmp_path: Path) -> Any:
    """The page with two CTs, the first of `SMALL` voxels; what is opened from now on, is held."""
    page.set_input_files("#files", undeclared(tmp_path))
    page.select_option(".study .values select", "HU")
    sync_api.expect(page.locator(".study .values")).to_have_count(0)
    page.set_input_files("#folder", series)
    sync_api.expect(page.locator(".study")).to_have_count(2)
    sync_api.expect(page.locator("#sliders input")).to_have_count(3)
    page.evaluate(SLOW_LOADS)
    return page


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0)])
def test_only_the_last_study_that_was_opened_is_in_the_viewer(
    two: Any, series: Path, order: tuple[int, ...]
) -> None:
    shapes = [SMALL, list(read(series).shape)]
    assert shapes[0] != shapes[1]
    for number in order:
        two.locator(".study .open").nth(number).click()
    two.wait_for_function("window.held.length > 0")
    assert drawn(two) == []  # nor the study from before, next to the name of this one
    release(two)
    two.wait_for_timeout(500)
    assert drawn(two) == [shapes[order[-1]]]
    assert "shown" in two.locator(".study").nth(order[-1]).get_attribute("class").split()


def test_what_is_chosen_while_a_study_loads_holds_for_it(two: Any) -> None:
    two.locator(".study .open").first.click()
    two.select_option("#plane", "axial")
    two.click("#reset")
    two.select_option("#window", "lung")
    release(two)
    sync_api.expect(two.locator("#sliders input")).to_have_count(1)
    sync_api.expect(two.locator("#viewer")).to_have_attribute("data-window", "-1350,150")
    two.locator(".study .open").nth(1).click()  # and for the one it is compared with
    release(two)
    sync_api.expect(two.locator("#sliders input")).to_have_count(1)
    two.click("#language")
    assert (two.input_value("#window"), two.input_value("#plane")) == ("lung", "axial")


def test_a_box_is_drawn_on_its_own_study_alone(two: Any) -> None:
    asked = held(two, "**/v1/chat/completions", "POST")
    two.locator(".study .open").first.click()
    release(two)
    two.fill("#question", "Where is it?")
    two.keyboard.press("Enter")
    two.locator(".study .open").nth(1).click()  # while the answer is on its way
    release(two)
    (question,) = until(two, lambda: asked)
    answer_with(question, f"It lies at {BOX}.")
    show = two.get_by_role("button", name="Show box 1")
    show.wait_for()
    assert "shown" in two.locator(".study").nth(1).get_attribute("class").split()
    show.click()
    two.locator(".study .open").nth(1).click()
    release(two)
    two.wait_for_timeout(500)
    assert two.get_attribute("#viewer", "data-boxes") is None
    show.click()
    release(two)
    sync_api.expect(two.locator("#viewer")).to_have_attribute("data-boxes", "1")
    assert "shown" in two.locator(".study").first.get_attribute("class").split()


def on_the_server(page: Any) -> list[str]:
    """Ids of the studies that the server holds for this visitor."""
    asked = "fetch('/page/studies').then((answer) => answer.json()).then(({studies}) => studies.map(({id}) => id))"
    found: list[str] = page.evaluate(asked)
    return found


def test_no_question_is_asked_while_a_study_is_on_its_way_and_it_stays_with_its_conversation(
    page: Any, tmp_path: Path
) -> None:
    asked = held(page, "**/v1/chat/completions", "POST")
    uploads = held(page, "**/page/studies", "POST")
    page.set_input_files("#files", undeclared(tmp_path))
    (upload,) = until(page, lambda: uploads)
    sync_api.expect(page.locator("#send")).to_be_disabled()
    page.fill("#question", "Is there a nodule?")
    page.keyboard.press("Enter")
    assert page.input_value("#question") == "Is there a nodule?"
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#saving summary")
    page.click("#new")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        upload.continue_()
    sync_api.expect(page.locator("#send")).to_be_enabled()
    assert page.locator(".study").count() == 0 and on_the_server(page) == [] and asked == []


def test_a_study_that_is_removed_while_it_is_declared_stays_removed(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#files", undeclared(tmp_path))
    sync_api.expect(page.locator("#sliders input")).to_have_count(3)
    declarations = held(page, "**/declare", "POST")
    page.select_option(".study .values select", "HU")
    (declaration,) = until(page, lambda: declarations)
    answer = (
        declaration.fetch()
    )  # the server has declared it, under another id, and the page does not know yet
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.click(".study .away")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        declaration.fulfill(response=answer)
    assert on_the_server(page) == []
    sync_api.expect(page.locator("#viewer")).to_be_hidden()
    assert page.locator(".study").count() == 0


def test_a_study_whose_pixels_were_asked_for_by_its_old_id_is_not_gone(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#files", undeclared(tmp_path))
    sync_api.expect(page.locator("#sliders input")).to_have_count(3)
    loads = held(page, "**/pixels.nii**", "GET")
    page.locator(".study .open").click()
    until(page, lambda: loads)
    page.select_option(".study .values select", "HU")
    first, second = until(page, lambda: loads[1:] and loads)
    with page.expect_response("**/pixels.nii**") as refused:
        first.continue_()
    assert refused.value.status == 404
    second.continue_()
    sync_api.expect(page.locator("#sliders input")).to_have_count(3)
    assert page.locator(".study.gone").count() == 0
    assert "Not read" not in page.locator("#intake").inner_text()


def test_a_box_of_a_study_that_was_removed_is_no_other_studys(page: Any) -> None:
    add_example(page)
    add_example(page)
    asked = held(page, "**/v1/chat/completions", "POST")
    page.fill("#question", "Where is it?")
    page.keyboard.press("Enter")
    (question,) = until(page, lambda: asked)
    page.locator(".study .away").last.click()
    answer_with(question, f"It lies at {BOX}.")
    answered(page)
    page.wait_for_timeout(500)
    assert page.get_by_role("button", name="Show box").count() == 0


def test_a_study_that_comes_while_the_others_are_looked_for_is_there(page: Any) -> None:
    add_example(page, "image")
    lists = held(page, "**/page/studies", "GET")
    page.reload()
    ready(page)
    (asked,) = until(page, lambda: lists)
    answer = asked.fetch()  # of what the server held before the next one came
    page.click("#add-image")
    sync_api.expect(page.locator(".study")).to_have_count(2)
    asked.fulfill(response=answer)
    page.wait_for_timeout(500)
    assert page.locator(".study.gone").count() == 0
    assert "shown" in page.locator(".study").nth(1).get_attribute("class").split()


def test_headers_of_two_folders_have_their_own_pixels(page: Any, tmp_path: Path) -> None:
    shape = (4, 5, 6)
    arrays = [np.full(shape, value, np.int16) for value in (-700, 40)]
    for name, array in zip("ab", arrays, strict=True):
        (tmp_path / "scans" / name).mkdir(parents=True)
        (tmp_path / "scans" / name / "scan.raw").write_bytes(array.tobytes())
        (tmp_path / "scans" / name / "scan.mhd").write_text(
            "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = scan.raw\n"
        )
    page.set_input_files("#folder", tmp_path / "scans")
    sync_api.expect(page.locator(".study")).to_have_count(2)
    pixels = "id => fetch(`/page/studies/${id}/pixels.nii`).then(a => a.arrayBuffer()).then(b => [...new Uint8Array(b)])"
    found = [
        np.asarray(nibabel.Nifti1Image.from_bytes(bytes(page.evaluate(pixels, name))).dataobj)
        for name in on_the_server(page)
    ]
    assert [np.unique(array).tolist() for array in found] == [[-700], [40]]


def test_no_two_studies_of_a_long_conversation_have_one_name(page: Any) -> None:
    page.evaluate("sessionStorage.setItem('medmvl-conversation', JSON.stringify({added: 25}))")
    page.reload()
    ready(page)
    add_example(page, "image")
    add_example(page, "image")
    names = page.locator(".study .open").all_inner_texts()
    assert [name.split(" ")[0].strip() for name in names] == ["Z", "AA"]


def test_a_conversation_for_which_the_tab_has_no_room_goes_on_and_says_so(page: Any) -> None:
    add_example(page, "image")
    page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"
    )
    say(page, "Yes.")
    page.click("#report")
    assert answered(page) == "Yes."
    sync_api.expect(page.locator("#send")).to_be_visible()
    sync_api.expect(page.locator("#intake")).to_contain_text("no room left")
    assert (
        page.evaluate("sessionStorage.getItem('medmvl-conversation')") is None
    )  # none is better than an old one


def test_an_answer_streams_and_is_the_one_the_server_gives_to_anyone(page: Any, served: Served) -> None:
    served.delay = 0.3  # a busy machine paints seldom
    add_example(page)
    page.click("#more summary")
    page.fill("#length", "12")
    page.dispatch_event("#length", "change")
    page.evaluate(
        """() => { window.lengths = []; new MutationObserver(() => {
            const words = document.querySelector('.turn.assistant .words');
            if (words) window.lengths.push(words.textContent.length);
        }).observe(document.getElementById('log'), {subtree: true, childList: true, characterData: true}); }"""
    )
    with page.expect_request("**/v1/chat/completions") as asked:
        page.fill("#question", "Is there a nodule?")
        page.keyboard.press("Enter")
    text = answered(page)
    assert len({length for length in page.evaluate("window.lengths") if length > 0}) >= 3
    whole = page.evaluate(
        """async (body) => (await (await fetch('/v1/chat/completions', {method: 'POST',
            headers: {'Content-Type': 'application/json'}, body})).json()).choices[0].message.content""",
        asked.value.post_data.replace('"stream":true', '"stream":false'),
    )
    assert text.strip() == whole.strip() != ""
    content = asked.value.post_data_json["messages"][0]["content"]
    assert [part["type"] for part in content] == ["file", "text"]


def test_reasoning_is_folded_above_the_answer(browser: Any) -> None:
    engine: Any = tiny_engine(thinking=True)
    engine.model.forward = writes(engine, f"{REASONING}\n</think>\n\n{ANSWER}")
    with (
        running(create_app(engine, ServeSettings(model_name="tiny", page=True))) as address,
        opened(browser, address) as page,
    ):
        ready(page)
        add_example(page, "image")
        page.fill("#question", "Is there a nodule?")
        page.keyboard.press("Enter")
        assert answered(page).strip() == ANSWER
        thoughts = page.locator(".turn.assistant .reasoning")
        expect = sync_api.expect
        expect(thoughts).to_have_count(1)
        expect(thoughts.locator("p")).to_have_text(REASONING)
        expect(thoughts.locator("p")).to_be_hidden()
        thoughts.locator("summary").click()
        expect(thoughts.locator("p")).to_be_visible()
        page.click("#more summary")
        page.uncheck("#thinking")
        with page.expect_request("**/v1/chat/completions") as asked:
            page.fill("#question", "And now?")
            page.keyboard.press("Enter")
        assert asked.value.post_data_json["chat_template_kwargs"] == {"enable_thinking": False}
        assert REASONING not in json.dumps(asked.value.post_data_json)


def test_an_answer_can_be_stopped_and_asked_again(page: Any, served: Served) -> None:
    served.delay = 0.2
    add_example(page, "image")
    page.click("#report")
    sync_api.expect(page.locator(".turn.assistant .words")).to_have_text(re.compile(".{4,}", re.DOTALL))
    page.click("#stop")
    sync_api.expect(page.locator(".turn.assistant footer")).to_contain_text("Stopped.")
    served.delay = 0.0
    page.get_by_role("button", name="Try again").click()
    sync_api.expect(page.locator(".turn.assistant footer")).to_contain_text(" s")
    assert page.locator(".turn.user").count() == 1


def test_a_prior_study_goes_with_its_days(page: Any) -> None:
    add_example(page)
    page.locator(".when select").select_option("prior")
    page.locator(".when input").fill("180")
    page.locator(".when input").press("Tab")
    add_example(page)
    with page.expect_request("**/v1/chat/completions") as asked:
        page.click("#report")
    answered(page)
    files = [part["file"] for part in asked.value.post_data_json["messages"][0]["content"][:-1]]
    assert [file.get("days_before_current") for file in files] == [180, None]


def test_a_question_by_itself_takes_the_studies_and_no_earlier_turn(page: Any) -> None:
    add_example(page, "image")
    page.click("#report")
    answered(page)
    page.click("#more summary")
    page.check("#alone")
    page.click("#more summary")
    with page.expect_request("**/v1/chat/completions") as asked:
        page.click("#examples button >> nth=0")
    (message,) = asked.value.post_data_json["messages"]
    assert [part["type"] for part in message["content"]] == ["file", "text"]


def test_a_box_of_an_answer_is_drawn_on_its_slice(page: Any) -> None:
    add_example(page)
    counts = {
        plane: int(page.get_attribute(f"#slice-{plane}", "max")) for plane in ("axial", "coronal", "sagittal")
    }
    say(page, f"It lies at {BOX}.")
    page.click("#examples button >> nth=0")
    sync_api.expect(page.locator("#viewer")).to_have_attribute("data-boxes", "1")
    page.unroute("**/v1/chat/completions")
    # shares grow to the patient's left and back, voxels of the viewer to the right and front
    expected = {
        "axial": 0.375 * counts["axial"], "coronal": 0.375 * counts["coronal"], "sagittal": 0.625 * counts["sagittal"],
    }  # fmt: skip
    for plane, middle in expected.items():
        assert abs(slice_of(page, plane) - middle) <= 1.5, plane
    assert yellow(page) > 100
    page.locator("#slice-axial").fill("1")
    page.wait_for_timeout(500)
    few = yellow(page)
    page.get_by_role("button", name="Show box 1").click()
    page.wait_for_timeout(500)
    assert yellow(page) > few
    assert abs(slice_of(page, "axial") - expected["axial"]) <= 1.5


def yellow(page: Any) -> int:
    """Pixels of the viewer in the colour of the first box."""
    shot = np.asarray(Image.open(io.BytesIO(page.locator("#original").screenshot())).convert("RGB")).astype(
        int
    )
    return int(((shot[..., 0] > 200) & (shot[..., 1] > 130) & (shot[..., 2] < 60)).sum())


def test_what_the_model_sees_stands_beside_and_follows(page: Any) -> None:
    add_example(page)
    page.check("#show-seen")
    sync_api.expect(page.locator("#seen-figure")).to_be_visible()
    page.wait_for_timeout(800)
    before = page.locator("#seen").screenshot()
    page.locator("#slice-axial").fill("2")
    page.wait_for_timeout(500)
    assert page.locator("#seen").screenshot() != before
    page.uncheck("#show-seen")
    sync_api.expect(page.locator("#seen-figure")).to_be_hidden()


def test_a_reload_loses_nothing_and_another_visitor_sees_nothing(
    page: Any, browser: Any, served: Served
) -> None:
    add_example(page, "image")
    page.click("#report")
    text = answered(page)
    page.fill("#question", "half a question")
    page.reload()
    ready(page)
    assert page.locator(".turn.assistant .words").inner_text() == text
    assert page.locator(".study:not(.gone)").count() == 1
    assert page.input_value("#question") == "half a question"
    page.fill("#question", "And the heart?")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator(".turn.assistant footer")).to_have_count(2)
    with opened(browser, served.address) as other:
        ready(other)
        assert other.locator(".study").count() == other.locator(".turn").count() == 0


def test_the_language_changes_and_the_conversation_stays(page: Any) -> None:
    add_example(page, "image")
    page.click("#examples button >> nth=0")
    text = answered(page)
    page.click("#language")
    assert page.get_attribute("html", "lang") == "zh-CN"
    sync_api.expect(page.locator("#send")).to_have_text("提问")
    sync_api.expect(page.locator("#examples button").first).to_have_text("有胸腔积液吗？")
    assert page.locator(".turn.assistant .words").inner_text() == text
    left = page.evaluate(
        "[...document.querySelectorAll('[data-word]')].filter(e => /[a-z]{4}/.test(e.textContent)"
        " && !/JSON|DICOM|WebGL/.test(e.textContent)).map(e => e.textContent)"
    )
    assert left == []
    page.reload()
    ready(page)
    assert page.get_attribute("html", "lang") == "zh-CN"


def test_a_bad_file_is_named_and_harms_nothing(page: Any, tmp_path: Path) -> None:
    add_example(page, "image")
    (tmp_path / "scan.nii").write_bytes(b"not a scan")
    page.set_input_files("#files", tmp_path / "scan.nii")
    sync_api.expect(page.locator("#intake.bad")).to_contain_text("Not read: scan.nii")
    assert "Traceback" not in page.locator("#intake").inner_text()
    assert page.locator(".study").count() == 1
    page.click("#examples button >> nth=0")
    answered(page)


def test_units_of_a_file_that_does_not_say_them_are_declared(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#files", undeclared(tmp_path))
    sync_api.expect(page.locator(".study")).to_have_count(1)
    sync_api.expect(page.locator("#notes")).to_contain_text("Hounsfield")
    assert page.locator("#window option[value=lung]").count() == 0
    page.select_option(".study .values select", "HU")
    sync_api.expect(page.locator("#window option[value=lung]")).to_have_count(1)
    sync_api.expect(page.locator(".study .values")).to_have_count(0)
    assert "Hounsfield" not in page.locator("#notes").inner_text()
    page.click("#report")
    answered(page)


def test_a_lost_server_is_told_and_found_again(browser: Any) -> None:
    served = Served()
    try:
        with opened(browser, served.address) as page:
            ready(page)
            add_example(page, "image")
            page.click("#report")
            text = answered(page)
            served.stop()
            page.fill("#question", "Still there?")
            page.keyboard.press("Enter")
            sync_api.expect(page.locator("#lost")).to_be_visible()
            sync_api.expect(page.locator(".turn.assistant").last).to_contain_text("No answer")
            assert page.locator(".turn.assistant .words").first.inner_text() == text
            served.start()
            sync_api.expect(page.locator("#lost")).to_be_hidden()
            sync_api.expect(page.locator(".study.gone")).to_have_count(1)  # the new server holds no scans
    finally:
        served.stop()


def test_a_key_is_asked_for_where_one_is_needed(browser: Any) -> None:
    served = Served(keys=("a-key-of-the-whole-ward",))
    try:
        with opened(browser, served.address) as page:
            page.wait_for_selector("#key-dialog[open]")
            page.fill("#key", "a-key-of-the-whole-ward")
            page.keyboard.press("Enter")
            ready(page)
            add_example(page, "image")
            page.click("#report")
            assert answered(page)
    finally:
        served.stop()


def test_everything_has_a_name_and_fits_a_phone(browser: Any, served: Served) -> None:
    with opened(browser, served.address, viewport={"width": 360, "height": 740}, has_touch=True) as page:
        ready(page)
        add_example(page)
        page.click("#report")
        answered(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("#original").bounding_box()["height"] > 200
        nameless = page.evaluate(
            """[...document.querySelectorAll('button, input, select, textarea, canvas, summary')]
                .filter(e => !e.hidden && !(e.getAttribute('aria-label') || e.textContent.trim()
                    || [...(e.labels ?? [])].some(label => label.textContent.trim()))).map(e => e.outerHTML)"""
        )
        assert nameless == []


def test_the_conversation_is_saved_as_text_and_json(page: Any) -> None:
    add_example(page, "image")
    page.click("#report")
    text = answered(page)
    page.click("#saving summary")
    for button, kind in (("#save-text", "txt"), ("#save-json", "json")):
        with page.expect_download() as saving:
            page.click(button)
        assert saving.value.suggested_filename == f"medmvl-conversation.{kind}"
        saved = Path(saving.value.path()).read_text(encoding="utf-8")
        assert text.strip().splitlines()[0] in saved and "Not a diagnosis" in saved


def test_the_description_of_the_api_is_shown_without_the_network(browser: Any, served: Served) -> None:
    with opened(browser, served.address) as page:
        ready(page)
        page.goto(f"{served.address}/docs")
        sync_api.expect(page.locator(".opblock-summary-path").first).to_be_visible()
        assert "/v1/chat/completions" in page.locator("#swagger-ui").inner_text().replace("\u200b", "")
