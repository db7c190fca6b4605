import pytest
import torch
from plans import blending
from torch import Tensor

from safegen.errors import GuardFailure
from safegen.method.evidence import TOP, Disagreement, concentration, observe, pull
from safegen.method.session import Session


def rows(seed: int, images: int = 3) -> Tensor:
    return torch.randn(images, 4, 10, 10, generator=torch.Generator().manual_seed(seed)).double()


class TestPull:
    def test_is_the_ratio_of_the_two_distances(self) -> None:
        uncond, step = rows(0), rows(1)
        torch.testing.assert_close(
            pull(uncond + step, uncond + step + 0.3 * step, uncond), torch.full((3,), 0.3).double()
        )

    def test_is_nothing_where_the_streams_agree(self) -> None:
        assert pull(rows(0), rows(0), rows(1)).tolist() == [0.0] * 3
        assert pull(rows(0), rows(0), rows(0)).tolist() == [0.0] * 3

    def test_compares_across_samplers(self) -> None:
        """eps and v rows are x0 rows times a factor plus a multiple of the noisy latent."""
        a, b, u, x = rows(0), rows(1), rows(2), rows(3)
        as_eps = [(x - row) / 7.3 for row in (a, b, u)]
        torch.testing.assert_close(pull(*as_eps), pull(a, b, u))
        torch.testing.assert_close(concentration(*as_eps[:2]), concentration(a, b))


class TestConcentration:
    def test_is_whole_for_one_thing_and_even_for_everything(self) -> None:
        a = torch.zeros(2, 4, 10, 10)
        b = a.clone()
        b[0, :, 3:5, 3:7] = 5.0
        b[1] = 1.0
        torch.testing.assert_close(concentration(a, b), torch.tensor([1.0, TOP]).double())

    def test_is_nothing_where_the_streams_agree(self) -> None:
        assert concentration(rows(0), rows(0)).tolist() == [0.0] * 3


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    a, b, u = rows(0), rows(1), rows(2)
    whole = observe(0.1, a, b, u)
    for i in range(3):
        alone = observe(0.1, a[i : i + 1], b[i : i + 1], u[i : i + 1])
        assert alone.pull is not None
        assert whole.pull is not None
        assert alone.pull[0] == pytest.approx(whole.pull[i], rel=1e-12)
        assert alone.concentration[0] == pytest.approx(whole.concentration[i], rel=1e-12)
    assert "%" in str(whole)
    assert observe(0.1, a, b).pull is None


@pytest.mark.parametrize("top", [0.0, -1.0, 1.1])
def test_a_share_out_of_range_is_refused(top: float) -> None:
    with pytest.raises(ValueError, match="top"):
        concentration(rows(0), rows(1), top)


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        pull(rows(0), rows(1)[:1], rows(2))


class TestInASession:
    def run(self, *observations: tuple[Tensor, Tensor, Tensor | None]) -> Session:
        session = Session(blending(weight=0.5, tau=0.25, evidence=True), [True] * 3)
        for i in range(4):
            call = session.begin(i / 4)
            for original, safe, uncond in observations:
                session.observe(call, original, safe, uncond)
            session.combine(call, rows(0), rows(1) if call.evaluate else None)
        return session

    def test_the_first_guarded_call_is_kept(self) -> None:
        session = self.run((rows(0), rows(1), rows(2)))
        assert session.evidence == observe(0.25, rows(0), rows(1), rows(2))
        assert session.finish().guarded == 3

    def test_observing_never_fails_a_run_or_changes_its_result(self) -> None:
        broken = (rows(0), rows(1)[:1], None)
        assert self.run(broken).evidence is None
        assert self.run(broken).finish() == self.run().finish()

    def test_a_failed_run_stays_failed(self) -> None:
        session = Session(blending(weight=0.5, tau=0.0, evidence=True), [True])
        call = session.begin(0.0)
        session.observe(call, rows(0, 1), rows(1, 1))
        with pytest.raises(GuardFailure):
            session.combine(call, rows(0, 1), None)
        with pytest.raises(GuardFailure):
            session.finish()

    def test_nothing_is_looked_at_unless_the_plan_asks(self) -> None:
        session = Session(blending(weight=0.5, tau=0.0), [True])
        call = session.begin(0.0)
        assert not session.observing
        session.observe(call, rows(0, 1), rows(1, 1))
        session.combine(call, rows(0, 1), rows(1, 1))
        assert session.finish().evidence is None


def test_a_picture_is_told_by_its_strongest_row() -> None:
    seen = observe(0.25, rows(0), rows(1), rows(2))
    assert seen.pull is not None
    line = seen.image([0, 2])
    assert "25%" in line
    assert f"{max(seen.pull[0], seen.pull[2]):.2f}" in line
    assert seen.image([1]) == observe(0.25, rows(0)[1:2], rows(1)[1:2], rows(2)[1:2]).image([0])


class TestDisagreement:
    def test_is_the_mean_of_root_mean_squares_scaled_to_its_own_maximum(self) -> None:
        seen, first, second = Disagreement(), rows(0), rows(1)
        seen.add(first)
        seen.add(second)
        mean = (first.square().mean(1).sqrt() + second.square().mean(1).sqrt()) / 2
        for found, wanted in zip(seen.maps(), mean, strict=True):
            torch.testing.assert_close(
                torch.from_numpy(found).double(), wanted / wanted.max(), rtol=1e-5, atol=1e-6
            )

    def test_calls_that_cancel_each_other_still_count(self) -> None:
        seen = Disagreement()
        seen.add(rows(0))
        seen.add(-rows(0))
        alone = Disagreement()
        alone.add(rows(0))
        for both, one in zip(seen.maps(), alone.maps(), strict=True):
            assert abs(both - one).max() < 1e-6

    def test_agreement_is_zeros_and_no_call_is_nothing(self) -> None:
        seen = Disagreement()
        assert seen.maps() == ()
        seen.add(torch.zeros(2, 4, 3, 5))
        assert [found.tolist() for found in seen.maps()] == [[[0.0] * 5] * 3] * 2
