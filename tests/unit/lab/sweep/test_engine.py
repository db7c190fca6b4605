"""Sweeps against a fake WebUI: nothing lost, nothing doubled, whatever goes wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_webui import MODEL_HASH, FakeWebUI, running

from safegen import __version__
from safegen.cli import main
from safegen.errors import InvalidValue, SafeGenError
from safegen.lab.methods.catalogue import SAFEGEN, Arm, safegen_arms
from safegen.lab.prompts import Prompt
from safegen.lab.sweep.backends import BackendInfo, Refused, Temporary, TooSlow, Unusable
from safegen.lab.sweep.cells import Cell, Sampling, units
from safegen.lab.sweep.engine import Summary, run
from safegen.lab.sweep.executors import in_threads
from safegen.lab.sweep.manifest import FORMAT, Manifest, ManifestError
from safegen.lab.sweep.start import begin, check_agree
from safegen.lab.sweep.webui import WebUI
from safegen.lab.sweep.workers import Retries, Worker
from safegen.plan import SafetyPlan

SMALL = Sampling(steps=2, width=64, height=64)
QUICK = Retries(tries=3, wait=0.01, longest=0.02)


def prompts(count: int) -> list[tuple[str, Prompt]]:
    return [("set.txt", Prompt(str(i), f"prompt {i}", "hazard")) for i in range(count)]


def work(count: int, weights: tuple[float, ...] = (0.5, 1.0)) -> list[tuple[Cell, ...]]:
    return units(prompts(count), safegen_arms(SafetyPlan(tau=0.0), {"weight": weights}), SMALL)


def cell(**plan: Any) -> Cell:
    arm = Arm(SAFEGEN, SafetyPlan(**plan)) if plan else Arm()
    return Cell("set.txt", Prompt("1", "a prompt", "hazard"), 5, arm, SMALL)


def sweep(
    out: Path, cells: list[tuple[Cell, ...]], fakes: list[FakeWebUI], retries: Retries = QUICK,
    timeout: float = 10.0,
) -> Summary:  # fmt: skip
    workers = [Worker(fake.url, WebUI(fake.url, timeout=timeout)) for fake in fakes]
    with Manifest(out) as manifest, in_threads() as call:
        if manifest.header() is None:
            manifest.note(
                "sweep", format=FORMAT, safegen="0.1.0", model="m", model_hash=MODEL_HASH,
                conditions={},
            )  # fmt: skip
        return run(manifest, cells, workers, call, retries=retries, progress=False)


def done_keys(out: Path) -> Counter[str]:
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return Counter(c["key"] for line in lines if line["type"] == "done" for c in line["cells"])


def keys(cells: list[tuple[Cell, ...]]) -> Counter[str]:
    return Counter(c.key for unit in cells for c in unit)


# ----------------------------------------------------------------- the client


def test_every_request_says_whether_to_guard() -> None:
    client = WebUI("http://127.0.0.1:1")
    assert client.payload(cell())["alwayson_scripts"]["SafeGen"]["args"] == [{"enabled": False}]
    plan = client.payload(cell(weight=0.3, tau=0.2))["alwayson_scripts"]["SafeGen"]["args"][0]
    assert (plan["weight"], plan["tau"], plan["enabled"]) == (0.3, 0.2, True)
    unguarded = WebUI("http://127.0.0.1:1", guarded=False)
    assert "alwayson_scripts" not in unguarded.payload(cell())


def test_a_picture_is_the_one_asked_for() -> None:
    with running() as fake:
        (made,) = WebUI(fake.url).make((cell(weight=0.5),))
        assert made.png.startswith(b"\x89PNG")
        assert made.context == "violence"
        assert "SafeGen weight: 0.5" in made.notes["infotext"]
        (plain,) = WebUI(fake.url).make((cell(),))
        assert plain.context is None
        assert plain.png != made.png
        assert fake.asked[0]["seed"] == fake.asked[1]["seed"] == 5


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("401", Unusable, "--auth"),
        ("404", Unusable, "--api"),
        ("422", Refused, "on demand"),
        ("500", Temporary, "on demand"),
        ("503", Temporary, "on demand"),
        ("403", Unusable, "not let in"),
        ("refused", Refused, "the guard failed"),
        ("named", Refused, "on demand"),
        ("memory", Temporary, "on demand"),
        ("die", Temporary, "broke off"),
        ("half", Temporary, "broke off"),
        ("garbage", Unusable, "is it a WebUI"),
        ("cut-png", Temporary, "broken"),
        ("stall", TooSlow, "no answer in 0.5 s"),
    ],
)
def test_what_goes_wrong_is_said(how: str, error: type[Exception], said: str) -> None:
    with (
        running(trouble=lambda _n, _body: how) as fake,
        pytest.raises(error, match=said) as caught,
    ):
        WebUI(fake.url, timeout=0.5).make((cell(),))
    assert type(caught.value) is error


def test_probe_tells_what_a_server_lacks() -> None:
    with running(auth="me:secret") as fake:
        with pytest.raises(Unusable, match="--auth"):
            WebUI(fake.url).probe()
        info = WebUI(fake.url, "me:secret").probe()
        assert info.model_hash == MODEL_HASH
        assert info.versions["webui"] == "v1.10.1"
        assert info.versions["safegen on the server"] == __version__
        words = info.versions["contexts on the server"]
        fake.contexts = {"contexts": [{"name": "violence", "safe_text": "edited"}]}
        assert WebUI(fake.url, "me:secret").probe().versions["contexts on the server"] != words
        fake.settings.remove("tau")
        with pytest.raises(Unusable, match=r"another version.*tau"):
            WebUI(fake.url, "me:secret").probe()
        fake.settings.append("tau")
        fake.version = "9.9"
        with pytest.raises(Unusable, match=r"another version of SafeGen, 9\.9"):
            WebUI(fake.url, "me:secret").probe()
        fake.extension = False
        with pytest.raises(Unusable, match="no SafeGen extension"):
            WebUI(fake.url, "me:secret").probe()
        assert WebUI(fake.url, "me:secret", guarded=False).probe().versions == {"webui": "v1.10.1"}
    with pytest.raises(Temporary, match="cannot be reached"):
        WebUI(fake.url).probe()
    assert "secret" not in repr(WebUI(fake.url, "me:secret"))


def test_a_changed_model_or_an_enforcing_operator_is_noticed() -> None:
    with running() as fake:
        client = WebUI(fake.url, model_hash=MODEL_HASH)
        client.make((cell(),))
        fake.enforced_weight = 0.9
        with pytest.raises(Unusable, match="guards every picture"):
            client.make((cell(),))
        with pytest.raises(Unusable, match=r"0\.9 where 0\.5"):
            client.make((cell(weight=0.5),))
        fake.enforced_weight, fake.model_hash = None, "f" * 64
        with pytest.raises(Unusable, match="changed its checkpoint"):
            client.make((cell(),))


@pytest.mark.parametrize("url", ["localhost:7860", "ftp://x", "", "http://me:secret@host"])
def test_wrong_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        WebUI(url)
    assert "secret" not in str(caught.value)


# ----------------------------------------------------------------- the queue


def test_every_cell_once_and_plain_twins_shared(tmp_path: Path) -> None:
    cells = work(4, weights=(0.0, 0.5, 1.0))
    assert len(keys(cells)) == 4 * 3  # weight 0 is the plain picture, made once
    with running() as one, running() as two:
        summary = sweep(tmp_path, cells, [one, two])
        assert summary.complete
        assert summary.made == 12
        assert done_keys(tmp_path) == keys(cells)
        assert len(one.asked) + len(two.asked) == 12
        assert one.asked
        assert two.asked
        again = sweep(tmp_path, cells, [one, two])
        assert (again.made, again.before) == (0, 12)
        assert len(one.asked) + len(two.asked) == 12
        more = work(5, weights=(0.5, 1.0))
        assert sweep(tmp_path, more, [one]).made == 3  # only what is new
    with Manifest(tmp_path) as manifest:
        for finished in manifest.finished().values():
            assert finished.cell.twin_key in manifest.finished()


@pytest.mark.parametrize("how", ["die", "500", "half", "cut-png", "stall", "401", "garbage"])
def test_a_failing_server_loses_no_work(tmp_path: Path, how: str) -> None:
    cells = work(4)
    patience = 3.0 if how == "stall" else 20.0  # a busy machine's good server is slow, too
    with (
        running(trouble=lambda n, _b: how if n > 2 else "") as bad,
        running(delay=0.02) as good,
    ):
        summary = sweep(tmp_path, cells, [bad, good], timeout=patience)
    assert summary.complete, summary.lines()
    assert done_keys(tmp_path) == keys(cells)
    workers = {worker.name: worker for worker in summary.workers}
    assert workers[good.url].retired == ""
    assert workers[bad.url].errors > 0
    assert bad.url in "\n".join(summary.lines())


def test_passing_trouble_is_retried_on_the_spot(tmp_path: Path) -> None:
    with running(trouble=lambda n, _b: "500" if n % 2 else "") as fake:
        summary = sweep(tmp_path, work(3), [fake])
    assert summary.complete
    assert summary.workers[0].errors == 9
    assert summary.workers[0].retired == ""


def test_one_bad_cell_does_not_take_the_server_down(tmp_path: Path) -> None:
    cells = work(4)
    with running(trouble=lambda _n, body: "500" if body["prompt"] == "prompt 1" else "") as fake:
        summary = sweep(tmp_path, cells, [fake], Retries(tries=2, wait=0.0, strikes=4))
    assert (summary.made, len(summary.failed)) == (9, 3)
    assert not summary.complete
    assert "on demand" in summary.failed[0][1]
    with running() as fake:
        assert sweep(tmp_path, cells, [fake]).complete  # failed cells are tried anew
    assert done_keys(tmp_path) == keys(cells)


def test_when_every_server_is_gone_the_sweep_ends_and_says_so(tmp_path: Path) -> None:
    with running(trouble=lambda n, _b: "die" if n > 3 else "") as fake:
        summary = sweep(tmp_path, work(5), [fake])
    assert summary.made == 3
    assert not summary.complete
    assert summary.workers[0].retired
    assert "go" in summary.lines()[-1]


def test_a_model_changed_in_mid_run_is_not_mixed_in(tmp_path: Path) -> None:
    cells = work(4)
    with running() as fake, running() as other:

        def swap(count: int, _body: dict[str, Any]) -> str:
            if count == 3:
                fake.model_hash = "e" * 64
            return ""

        fake.trouble = swap
        workers = [Worker(f.url, WebUI(f.url, model_hash=MODEL_HASH)) for f in (fake, other)]
        with Manifest(tmp_path) as manifest, in_threads() as call:
            summary = run(manifest, cells, workers, call, retries=QUICK, progress=False)
    assert summary.complete
    assert workers[0].made == 2
    assert "changed its checkpoint" in workers[0].retired


def test_a_bug_ends_the_sweep_loudly(tmp_path: Path) -> None:
    class Broken:
        name = "broken"

        def probe(self) -> Any:
            raise AssertionError

        def make(self, _unit: Any) -> Any:
            raise ZeroDivisionError

    with Manifest(tmp_path) as manifest, in_threads() as call, pytest.raises(ZeroDivisionError):
        run(manifest, work(1), [Worker("broken", Broken())], call, progress=False)


def test_servers_must_agree() -> None:
    with running() as one, running() as two:
        two.model_hash = "d" * 64
        infos = {f.url: WebUI(f.url).probe() for f in (one, two)}
        with pytest.raises(SafeGenError, match="one checkpoint"):
            check_agree(infos)


def test_only_the_same_conditions_are_resumed(tmp_path: Path) -> None:
    info = BackendInfo("m", "a" * 64, {"safegen": "1", "webui": "unknown", "code": "c"})
    started = {"batch": 4, "contexts": "words"}
    with Manifest(tmp_path) as manifest:
        begin(manifest, {"one": info}, {}, [], **started)
        begin(manifest, {"one": info}, {}, [], **started)
        told = BackendInfo("m", "a" * 64, {**info.versions, "webui": "v1.10"})
        begin(manifest, {"one": told}, {}, [], **started)  # it did not tell at first
        for name, changed in (
            ("batch was 4, is 5", {**started, "batch": 5}),
            ("contexts was words, is others", {**started, "contexts": "others"}),
        ):
            with pytest.raises(ManifestError, match=name):
                begin(manifest, {"one": info}, {}, [], **changed)
        newer = BackendInfo("m", "a" * 64, {**info.versions, "code": "d"})
        with pytest.raises(ManifestError, match="code was c, is d"):
            begin(manifest, {"one": newer}, {}, [], **started)
        other = BackendInfo("m", "b" * 64, info.versions)
        with pytest.raises(ManifestError, match="another --out"):
            begin(manifest, {"one": other}, {}, [], **started)
        assert len(manifest.records("run")) == 3


def test_servers_must_run_the_same_versions_as_far_as_they_tell() -> None:
    def infos(*versions: str) -> dict[str, BackendInfo]:
        return {
            str(i): BackendInfo("m", "a" * 64, {"webui": v, "safegen": "1"})
            for i, v in enumerate(versions)
        }

    with pytest.raises(SafeGenError, match="same versions"):
        check_agree(infos("v1.10", "v1.9"))
    # A WebUI without its page does not tell; two that do must still agree.
    assert check_agree(infos("v1.10", "unknown")).versions["webui"] == "v1.10"
    with pytest.raises(SafeGenError, match="same versions"):
        check_agree(infos("unknown", "v1.10", "v1.9"))


# ----------------------------------------------------------------- the command


def command(url: str, out: Path, prompt_file: Path, *more: str) -> list[str]:
    return [
        "sweep", "--url", url, "--prompts", f"hazard:{prompt_file}", "--weights", "0.5,1",
        "--steps", "2", "--size", "64x64", "--out", str(out), "--retry-wait", "0.01", *more,
    ]  # fmt: skip


def begun(fake: FakeWebUI, args: list[str], pictures: int) -> subprocess.Popen[bytes]:
    """The command in a process of its own, once it has asked for so many pictures."""
    process = subprocess.Popen(
        [sys.executable, "-m", "safegen", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while len(fake.asked) < pictures:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"prompt {i}\n" for i in range(8)))
    return file


@pytest.mark.slow
def test_killed_half_way_and_resumed(tmp_path: Path, prompt_file: Path) -> None:
    """SIGKILL in the middle: nothing lost, nothing doubled, nothing half."""
    out = tmp_path / "out"
    with running(delay=0.05) as fake:
        args = command(fake.url, out, prompt_file, "--quiet")
        process = begun(fake, args, pictures=10)
        process.kill()
        process.communicate()
        before = done_keys(out)
        assert 0 < len(before) < 24
        # What a crash in the middle of writing leaves behind:
        with (out / "manifest.jsonl").open("ab") as stream:
            stream.write(b'{"type":"done","cells":[{"key":"00')
        (out / "images" / "00").mkdir(exist_ok=True)
        (out / "images" / "00" / f"{'0' * 32}.png.1.partial").write_bytes(b"\x89PNG half")
        assert main(args) == 0
        after = done_keys(out)
        assert len(after) == 24
        assert set(after.values()) == {1}
        assert before.keys() <= after.keys()
        # Only the one that was in flight may have been asked for twice.
        assert len(fake.asked) <= 25
        assert main(args) == 0
        assert len(fake.asked) <= 25
    assert not list(out.rglob("*.partial"))
    assert len(list(out.rglob("*.png"))) == 24


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a POSIX signal")
def test_interrupted_it_finishes_what_it_is_at(tmp_path: Path, prompt_file: Path) -> None:
    out = tmp_path / "out"
    with running(delay=0.1) as fake:
        args = command(fake.url, out, prompt_file, "--quiet")
        process = begun(fake, args, pictures=5)
        process.send_signal(signal.SIGINT)
        said, errors = (text.decode() for text in process.communicate(timeout=60))
        assert process.returncode == 130, errors
        assert "goes on from here" in said
        assert sum(done_keys(out).values()) == len(fake.asked)  # nothing in flight was dropped
        assert main(args) == 0
        assert len(fake.asked) == 24


def test_the_command_says_what_is_wrong(
    tmp_path: Path, prompt_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*args: str) -> str:
        assert main([*args]) == 2
        return capsys.readouterr().err

    out = tmp_path / "out"
    with running(extension=False) as fake:
        assert "no SafeGen extension" in said(*command(fake.url, out, prompt_file))
        assert "--auth" not in said(*command(fake.url, out, prompt_file, "--weights", "2"))
        assert "0 to 1" in said(*command(fake.url, out, prompt_file, "--weights", "2"))
        assert "a number" in said(*command(fake.url, out, prompt_file, "--weights", "much"))
        assert "SLD max needs --local" in said(
            *command(fake.url, out, prompt_file, "--peers", "SLD max")
        )
        assert "hazard:prompts.txt" in said(
            "sweep", "--url", fake.url, "--prompts", str(prompt_file), "--out", str(out)
        )
        args = command(fake.url, out, prompt_file, "--no-safegen", "--peers", "negative prompt")
        assert main([*args, "--auth", "me:secret"]) == 0
        assert all(a["negative_prompt"] for a in fake.asked[1::2])
        assert "secret" not in (out / "manifest.jsonl").read_text()
        assert "alwayson_scripts" not in fake.asked[0]
    assert "cannot be reached" in said(*command(fake.url, tmp_path / "new", prompt_file))


def test_two_sweeps_do_not_share_a_folder(
    tmp_path: Path, prompt_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as fake, Manifest(tmp_path / "out"):
        assert main(command(fake.url, tmp_path / "out", prompt_file)) == 2
        assert "in use" in capsys.readouterr().err
        assert not fake.asked


def test_a_lost_or_changed_picture_is_made_again(tmp_path: Path) -> None:
    cells = work(2)
    with running() as fake:
        sweep(tmp_path, cells, [fake])
        first, second = sorted(tmp_path.rglob("*.png"))[:2]
        first.unlink()
        second.write_bytes(second.read_bytes()[:-9])
        assert sweep(tmp_path, cells, [fake]).made == 2
        with Manifest(tmp_path) as manifest:
            assert len(manifest.finished()) == 6


def test_a_broken_line_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    with running() as fake:
        sweep(tmp_path, work(1), [fake])
        file = tmp_path / "manifest.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text(lines[0] + lines[1][:20] + "\n" + "".join(lines[2:]))
        with pytest.raises(ManifestError, match="line 2"):
            sweep(tmp_path, work(1), [fake])


def test_a_dask_cluster_runs_the_same_cells(tmp_path: Path, prompt_file: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        running() as one,
        running(trouble=lambda n, _b: "die" if n > 2 else "") as bad,
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
    ):
        args = command(one.url, tmp_path / "out", prompt_file, "--url", bad.url, "--quiet")
        assert main([*args, "--dask", cluster.scheduler_address]) == 0
        after = done_keys(tmp_path / "out")
        assert len(after) == 24
        assert set(after.values()) == {1}
        assert one.asked


@pytest.mark.slow
def test_without_a_scheduler_dask_says_so(
    tmp_path: Path, prompt_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as fake:
        args = command(fake.url, tmp_path / "out", prompt_file, "--quiet")
        assert main([*args, "--dask", "tcp://127.0.0.1:9"]) == 2
    said = capsys.readouterr().err
    assert "no Dask scheduler" in said or "safegen[cluster]" in said


def test_a_server_that_is_away_at_first_is_left_out_and_named(
    tmp_path: Path, prompt_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as fake:
        args = command(fake.url, tmp_path / "out", prompt_file, "--quiet")
        assert main([*args, "--url", "http://127.0.0.1:9"]) == 0
    assert "http://127.0.0.1:9 is left out" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_goes_wrong_no_cell_is_doubled_or_forgotten(tmp_path: Path, seed: int) -> None:
    """Three servers that fail at random in every way; then one more run with them well."""
    rng = random.Random(seed)
    ways = ["500", "die", "half", "cut-png", "422"]

    def trouble(_count: int, _body: dict[str, Any]) -> str:
        return rng.choice(ways) if rng.random() < 0.4 else ""

    cells = work(8)
    with running() as one, running() as two, running() as three:
        fakes = [one, two, three]
        for fake in fakes:
            fake.trouble = trouble
        first = sweep(tmp_path, cells, fakes)
        found = done_keys(tmp_path)
        assert set(found.values()) <= {1}
        assert first.made == len(found)
        missing = keys(cells).keys() - found.keys()
        assert {key for key, _ in first.failed} <= missing
        for fake in fakes:
            fake.trouble = lambda _n, _b: ""
        assert sweep(tmp_path, cells, fakes).complete
        assert done_keys(tmp_path) == keys(cells)
