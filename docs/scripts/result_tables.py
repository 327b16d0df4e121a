"""Sentences and tables of the documents, written from the files in benchmarks/results.

Each function below makes one block of Markdown; its name with hyphens is the name of the block. `LINK` stands for the
folder of the result files, as seen from the document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tables import gpu_headline, gpu_speed
from result_files import PROTOCOLS, RESULTS, paragraph, quantisation_report, read, results, source, table
from speed_tables import (
    archive,
    archive_million,
    batch,
    engines_speed,
    limited_results,
    live_ages,
    parts_speed,
    peers_speed,
    receive,
    stream_costs,
    stream_limits,
    stream_speed,
)
from ward_tables import ward

if TYPE_CHECKING:
    from collections.abc import Callable


def of_errors(errors: dict[str, float]) -> str:
    return " / ".join(f"{errors[statistic]:.1f}" for statistic in ("mean", "median", "p95"))


def headline() -> str:
    """The rows of the README."""
    folds, asap, paced = read("cross_validation"), results("stream_asap"), results("stream_30hz")
    bands = folds["axis of both"]["errors"]
    errors, dice, gate = bands["all"], {part: of["dice"] for part, of in folds["masks"].items()}, folds["gate"]
    engine = read("bench_model")["engines"]["openvino int8 CPU"]
    latency = paced["latency_ms"]
    return table(
        ("what", "value", "from"),
        [
            (
                f"AoP error by `fhps2023`, out of fold, {errors['frames']} frames in {errors['groups']} groups: mean /"
                " median / 95th percentile",
                f"{of_errors(errors)} degrees; {bands['>=140']['mean']:.1f} on average where AoP is 140 and more",
                source("cross_validation"),
            ),
            (
                "Dice of PS, of FH, of both as one, likewise",
                ", ".join(f"{dice[part]:.3f}" for part in ("ps", "fh", "all")),
                source("cross_validation"),
            ),
            (
                "frames that pass the plane gate, likewise: PSFHS; the same with the PS filled with tissue",
                f"{_percent(gate['psfhs'])}; {_percent(gate['PS filled with tissue'])}",
                source("cross_validation"),
            ),
            (
                "network, one frame, INT8 in OpenVINO, 2 shared cores: median / p99",
                f"{engine['latency_ms']['p50']:.1f} / {engine['latency_ms']['p99']:.1f} ms",
                source("bench_model"),
            ),
            (
                "whole pipeline on a 1920 x 1080 H.264 recording, same machine",
                f"{asap['frames_per_second']:.0f} frames per second",
                source("stream_asap"),
            ),
            (
                "latency from capture to record at 30 Hz: median / p99",
                f"{latency['p50']:.1f} / {latency['p99']:.1f} ms",
                source("stream_30hz"),
            ),
        ],
    )


def _percent(kind: dict[str, float]) -> str:
    return f"{kind['pass and measured']:.1%}"


def cross_validation() -> str:
    """All tables of the study, as its command wrote them."""
    return _as_written("cross_validation")


def variants() -> str:
    return _as_written("variants")


def short_variants() -> str:
    return _as_written("variants_short")


def _as_written(name: str) -> str:
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8").strip()
    return text.removesuffix("Research use only, not a medical device.").strip()


def out_of_fold() -> str:
    """The figures of the model card: errors by band, masks, plane gate."""
    folds = read("cross_validation")
    rows = [
        (band, str(of["frames"]), of_errors(of), f"{of['bias']:+.1f}")
        for band, of in folds["axis of both"]["errors"].items()
    ]
    errors = table(("drawn AoP", "frames", "AoP error, degrees: mean / median / p95", "bias"), rows)
    regions = {"ps": "PS", "fh": "FH", "all": "both as one"}
    dice = ", ".join(f"{regions[part]} {of['dice']:.3f}" for part, of in folds["masks"].items())
    gate = "; ".join(f"{kind} {_percent(of)}" for kind, of in folds["gate"].items() if isinstance(of, dict))
    text = f"Dice: {dice}. Frames that pass the plane gate and are measured: {gate} ({source('cross_validation')})."
    return f"{errors}\n\n{paragraph(text)}"


def quantisation() -> str:
    """What INT8 changes, from the report beside the quantised model."""
    found = quantisation_report()["acceptance"]
    rows = [
        (f"`{protocol}`", *(f"{found['aop_delta_deg'][protocol][statistic]:.2f}" for statistic in ("mean", "p95")))
        for protocol in PROTOCOLS
    ]
    text = (
        f"Dice of PS {found['dice']['ps']:.3f}, of FH {found['dice']['fh']:.3f}; {found['plane_flips']:.1%} of the"
        f" {found['frames']} frames change their plane verdict."
    )
    return f"{table(('AoP by', 'changes by, degrees: mean', '95th percentile'), rows)}\n\n{paragraph(text)}"


def simulated_recordings() -> str:
    found = results("simulated")["recordings"].values()
    bias = [each["aop_bias_deg"] for each in found]
    covered = {
        name: [100 * each[f"{name}_coverage"] for each in found if each[f"{name}_coverage"] is not None]
        for name in ("repeatability", "absolute")
    }
    shares = [f"the {name} interval in {min(each):.0f} to {max(each):.0f} %" for name, each in covered.items() if each]
    return paragraph(
        f"On {len(bias)} simulated recordings the tracked AoP is off by {min(bias):+.1f} to {max(bias):+.1f} degrees"
        f" on average. The true value lies within {', and within '.join(shares)} of frames ({source('simulated')})."
    )


def protocol_differences() -> str:
    found = results("measurement")
    references, noise = found["references"], found["abs_change_of_aop_under_2px_noise_deg"]
    rows = []
    for protocol in PROTOCOLS:
        moved = [noise[masks][protocol] for masks in ("iugc2024_masks_512", "psfhs_val_every_4th_256")]
        other = references["robust_minus_other_deg"].get(protocol)
        difference = f"{other['mean']:+.1f}, SD {other['sd']:.1f}" if other else ""
        rows.append((f"`{protocol}`", difference, *(f"{each['mean']:.1f} ({each['p95']:.1f})" for each in moved)))
    head = (
        "protocol",
        "`robust` minus it, degrees",
        "change under 2 px of noise, 17 IUGC masks of 512 x 512: mean (p95)",
        "the same, PSFHS masks of 256 x 256",
    )
    agreed = max(references["largest_deviation"].values())
    text = (
        f"On {references['masks']} reference masks both challenge protocols agree with the challenges' own evaluators"
        f" to {agreed:.4f} degrees and pixels wherever those give a number ({source('measurement')})."
    )
    return f"{table(head, rows)}\n\n{paragraph(text)}"


def tracking() -> str:
    rows = []
    for name, key in (
        ("correlated noise, outliers and gaps", "tracking"),
        ("readings beside each gap off by 5 to 20 degrees besides", "tracking_where_views_slide_off_the_plane"),
    ):
        for rate, found in results("measurement")[key].items():
            lag, inside = 1000 * found["lag_s"], 100 * found["coverage"]
            numbers = (f"{found['rmse_deg']:.1f}", f"{found['raw_rmse_deg']:.1f}", f"{lag:.0f}", f"{inside:.0f} %")
            rows.append((name, rate.removesuffix("_hz"), *numbers))
    head = ("24 simulated courses", "Hz", "RMSE, degrees", "RMSE of single frames", "lag, ms", "inside the interval")
    return table(head, rows)


def tracking_methods() -> str:
    """Filter, fixed lag, smoother and the anchored symphysis beside each other."""
    found = read("tracking")
    kinds = ("simulated courses", "animated frames", "phantoms")
    rows = []
    for name in found["animated frames"]:
        cells = [found[kind].get(name) for kind in kinds]
        rows.append((name, *("" if cell is None else f"{cell['rmse_deg']:.2f}" for cell in cells)))
    counts = ", ".join(f"{found['recordings'][kind]} {kind}" for kind in kinds)
    text = (
        f"RMSE of AoP in degrees over {counts}; of pictures without the mean error of each recording, which no filter"
        f" can see ({source('tracking')})."
    )
    return f"{table(('method', *kinds), rows)}\n\n{paragraph(text)}"


def tracking_pushes() -> str:
    """How right pushes are on simulated courses."""
    found = read("tracking")["pushes"]
    rows = []
    for rate, each in found["by rate"].items():
        cells = [
            (f"{part['mean_absolute_deg']:.2f}", f"{part['bias_deg']:+.2f}", f"{100 * part['inside']:.0f} %")
            for part in (each["peak"], each["difference"])
        ]
        rows.append((rate.removesuffix("_hz"), *(cell for part in cells for cell in part)))
    head = (
        "Hz",
        "peak: error, degrees",
        "bias",
        "in its interval",
        "difference: error, degrees",
        "bias",
        "in its interval",
    )
    text = (
        f"On simulated courses with noise, outliers and gaps {found['judged']} of {found['true']} true pushes are found"
        f" whole, and {found['found that are none']} that are none; in {found['hours at rest']:g} hour at rest"
        f" {found['found at rest']}. Errors are mean absolute ones, intervals those of repeatability"
        f" ({source('tracking')})."
    )
    return f"{table(head, rows)}\n\n{paragraph(text)}"


def orientation() -> str:
    found = results("orientation")
    folders = found["folders_in_100"]
    rows = []
    for kind, shares in found["alone_in_100"].items():
        rows.append((f"one mask, {kind}", *(f"{shares[name]:.1f}" for name in ("right", "refused", "wrong"))))
    for groups in ("3 groups", "10 groups", "30 groups"):
        for kind in ("normal", "mirrored"):
            shares = folders[groups][kind]
            rows.append(
                (f"a folder of {groups}, {kind}", *(f"{shares[name]:.1f}" for name in ("right", "refused", "wrong")))
            )
    wrong = found["by_look_in_100"]["B"]["wrong"]
    text = (
        f"From {found['masks']} masks in {found['groups']} groups; weights never saw the groups they are judged on"
        f" ({source('orientation')}). On another kind of scanner expect worse: {wrong:.0f} in 100 normal masks of"
        " look B are read as mirrored by weights of look A alone."
    )
    return f"{table(('of 100', 'read right', 'refused', 'read wrong'), rows)}\n\n{paragraph(text)}"


def orientation_band() -> str:
    mirrored, normal = results("orientation")["band"]
    return paragraph(
        f"A single mask is read as normal from log odds of {normal:g} on, as mirrored down from {mirrored:g}, and"
        f" refused between, since most displays are normal ({source('orientation')})."
    )


def view_changes() -> str:
    found = read("watch")
    kinds = {name: of for name, of in found["changes"].items() if name != "none"}
    made = sum(of["made"] for of in kinds.values())
    right = sum(of["right"] for of in kinds.values())
    false = sum(sum(of.values()) for of in found["false_seams"].values())
    recordings = len(found["false_seams"])
    return paragraph(
        f"Of {made} flips, turns, zooms and changes of brightness made on moving frames of PSFHS val, coded as H.264, "
        f"{right} were told rightly. On {recordings} recordings without a change, each at three frame rates, {false}"
        f" false changes were told ({source('watch')})."
    )


def cut_heads() -> str:
    cut = read("watch")["cut_heads"]
    return paragraph(
        f"Of the {cut['frames']} frames of PSFHS val {cut['frames_refused']} are refused so by their drawn masks. Of"
        f" {cut['cut_masks']} masks that a moved sector cuts, {cut['kept']} are kept, and their AoP is off by at most"
        f" {cut['kept_error_max_deg']:.1f} degrees; without the rule it would be {cut['error_p95_deg']:.0f} degrees"
        f" (95th percentile) ({source('watch')})."
    )


def sector_confidence() -> str:
    found = read("sector_confidence")
    rows = [
        (name, str(of["pictures"]), str(of["accepted"]))
        for group in ("ultrasound", "no_ultrasound")
        for name, of in found[group].items()
    ]
    return table(("pictures", "number", "accepted as ultrasound"), rows)


def blocks() -> dict[str, Callable[[], str]]:
    """All blocks by their names in the documents."""
    made = (
        headline,
        cross_validation,
        variants,
        short_variants,
        out_of_fold,
        quantisation,
        simulated_recordings,
        parts_speed,
        engines_speed,
        gpu_speed,
        gpu_headline,
        stream_speed,
        stream_limits,
        limited_results,
        stream_costs,
        peers_speed,
        live_ages,
        batch,
        receive,
        ward,
        archive,
        archive_million,
        protocol_differences,
        tracking,
        tracking_methods,
        tracking_pushes,
        orientation,
        orientation_band,
        view_changes,
        cut_heads,
        sector_confidence,
    )
    return {function.__name__.replace("_", "-"): function for function in made}
