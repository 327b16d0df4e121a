"""Tables of an NVIDIA GPU, from `gpu.json`; they say so where none has run yet."""

from __future__ import annotations

from typing import Any

from result_files import RESULTS, paragraph, read, source, table


def gpu_speed() -> str:
    """Engines on a GPU, and what was aimed at; says so where none has run yet."""
    found = _gpu_results()
    if found is None:
        return paragraph(
            "No GPU has run this version yet: there is no `gpu.json`. `bash benchmarks/gpu_check.sh` makes it, and this"
            " table, in under ten minutes."
        )
    rows = []
    for name, step in found["results"].items():
        if "acceptance" in step:
            rows.append((step["engine"], *_gpu_numbers(step)))
        elif "failed" in step:
            rows.append((f"`{name}`: failed, {step['failed']}", *[""] * 5))
    head = (
        *("engine", "AoP changes by, degrees (p95)", "network p50 / p99, ms", "of it the device, ms"),
        *("1920 x 1080 frame to labels p50 / p99, ms", "frames per second: in large batches, over streams"),
    )
    aims = [
        (row["what"], row["wanted"], _reached(row), {True: "met", False: "missed"}.get(row["met"], "not measured"))
        for row in found["targets"]
    ]
    device = found["machine"]["gpu"]
    return "\n\n".join(
        (
            paragraph(f"On {device} ({source('gpu')}):"),
            table(head, rows),
            table(("aimed at", "wanted", "reached", ""), aims),
        )
    )


def _gpu_results() -> Any:
    """The result file of a GPU; None where there is none, or it was made without one."""
    found = read("gpu") if (RESULTS / "gpu.json").is_file() else None
    return found if found and found["machine"].get("gpu") else None


def _gpu_numbers(step: dict[str, Any]) -> tuple[str, ...]:
    """Of one engine; empty where its step ended before."""
    moved = step["acceptance"]["aop_delta_deg"]["robust"]
    verdict = "" if step["acceptance"]["accepted"] else ", refused"

    def times(name: str) -> str:
        return " / ".join(f"{step[name][share]:.3f}" for share in ("p50", "p99")) if name in step else ""

    batched = step.get("overlapped", {}).get("frames_per_second")
    over = max(step.get("streams_fps", {}).values(), default=None)
    rates = ", ".join("-" if rate is None else f"{rate:.0f}" for rate in (batched, over))
    alone = step.get("device_ms", {}).get("1")
    return (
        f"{moved['p95']:.2f}{verdict}" if moved else "-",
        times("latency_ms"),
        "" if alone is None else f"{alone:.3f}",
        times("frame_to_labels_ms"),
        rates,
    )


def _reached(row: dict[str, Any]) -> str:
    return "" if row["reached"] is None else f"{row['reached']:g} by `{row['by']}`"


def gpu_headline() -> str:
    """One sentence for the README."""
    found = _gpu_results()
    if found is None:
        return paragraph("No GPU has run this version yet ([Benchmarks](docs/benchmarks.md#gpu)).")
    reached = [f"{row['what']}: {row['reached']:g}" for row in found["targets"] if row["reached"] is not None]
    return paragraph(f"On {found['machine']['gpu']} ({source('gpu')}): {'; '.join(reached) or 'nothing was measured'}.")
