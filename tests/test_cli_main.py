"""The command line: quick help, readable errors, exit codes, verbs that exist."""

import errno
import resource
import subprocess
import sys
from typing import Annotated, Any

import pytest
import typer
from pydantic import BaseModel

import medmvl
from medmvl.cli import main as cli
from medmvl.errors import MissingExtraError


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    code = stop.value.code
    return 0 if code is None else int(code)


@pytest.fixture
def verb_raising(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces `doctor` by a verb that raises what the test wants, loaded the way verbs are loaded."""
    monkeypatch.delenv("MEDMVL_DEBUG", raising=False)

    def install(error: BaseException) -> None:
        def doctor(value: Annotated[int, typer.Argument()] = 0) -> None:
            raise error

        monkeypatch.setattr("medmvl.cli.doctor.doctor", doctor)

    return install


def test_help_lists_every_verb_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        "import sys\nfrom medmvl.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydicom', 'matplotlib'} & set(sys.modules)\n"
        "verbs = {name for name in sys.modules if name.startswith('medmvl.cli.')}\n"
        "verbs -= {'medmvl.cli.main', 'medmvl.cli.once_per_host'}\n"
        "print('IMPORTED', sorted(heavy), sorted(verbs))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "IMPORTED [] []" in output
    for name in cli.VERBS:
        assert f" {name} " in output


def test_help_answers_at_once() -> None:
    """0.27 CPU seconds measured; a command that imports torch or transformers takes several, however busy the machine is."""
    seconds = []
    for _ in range(3):
        before = children_cpu()
        subprocess.run([sys.executable, "-m", "medmvl", "--help"], capture_output=True, check=True)
        seconds.append(children_cpu() - before)
    assert min(seconds) < 1.5


def children_cpu() -> float:
    """CPU seconds of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_every_verb_of_the_table_loads_and_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    assert f"medmvl {name}" in capsys.readouterr().out


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"medmvl {medmvl.__version__}\n"


def test_no_verb_prints_help_and_an_unknown_verb_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "inspect" in "".join(capsys.readouterr())
    assert run(["inspct"]) == 2
    assert "Did you mean 'inspect'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [ValueError("shape (3,) is not (4, 4)"), MissingExtraError("pip install 'medmvl[imaging]'")],
)
def test_what_a_user_can_cause_is_one_message_and_code_2(
    error: Exception, verb_raising: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    verb_raising(error)
    assert run(["doctor"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"Error: {error}\n"
    assert captured.out == ""


def test_an_os_error_names_the_file_and_the_reason(
    verb_raising: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    verb_raising(FileNotFoundError(errno.ENOENT, "No such file or directory", "scan.dcm"))
    assert run(["doctor"]) == 2
    assert capsys.readouterr().err == "Error: scan.dcm: No such file or directory\n"


def test_debug_shows_the_traceback(verb_raising: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMVL_DEBUG", "0")  # so that what `--debug` sets is undone after the test
    verb_raising(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        cli.main(["--debug", "doctor"])


def test_a_bug_is_not_hidden(verb_raising: Any) -> None:
    verb_raising(TypeError("a bug"))
    with pytest.raises(TypeError, match="a bug"):
        cli.main(["doctor"])


def test_interruption_exits_with_130_and_a_closed_pipe_is_quiet(
    verb_raising: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    verb_raising(KeyboardInterrupt())
    assert run(["doctor"]) == 130
    verb_raising(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert run(["doctor"]) == 1
    assert "Broken pipe" not in capsys.readouterr().err


def test_a_validation_error_names_each_key_on_its_own_line() -> None:
    class Stage(BaseModel):
        batch_size: int
        name: str

    with pytest.raises(ValueError) as caught:
        Stage.model_validate({"batch_size": "many"})
    message = cli.describe_error(caught.value)
    assert message.splitlines()[0] == "Stage is not valid:"
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == ["batch_size", "name"]
    assert "https://" not in message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recipe", "list"], "quickstart"),
        (["train", "quickstar"], "did you mean 'quickstart'"),
        (["train", "gone.yaml"], "there is no recipe file"),
        (["evaluate", "nowhere", "--tasks", "heartsize", "--data", "d", "--out", "x"], "heartsize"),
        (["generate", "nowhere", "--prompt", "q"], "no model found"),
        (["chat", "nowhere"], "no model found"),
    ],
)
def test_what_is_wrong_is_told_before_torch_is_imported(arguments: list[str], said: str) -> None:
    code = (
        "import sys\nfrom medmvl.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert said in done.stdout + done.stderr and done.stdout.endswith("heavy: []\n")
