"""Tables of speed in the documents, one function for each block."""

from __future__ import annotations

from statistics import median

from result_files import PROTOCOLS, RESULTS, paragraph, read, results, source, table

KINDS = {"": "VNNI"} | ({"_avx2": "AVX2"} if (RESULTS / "stream_asap_avx2.json").exists() else {})
"""Of results that exist for two kinds of processor: the ending of the file's name, and the instructions."""
KEPT_TO = "OV_CPU_MAX_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2"
"""What keeps OpenVINO, oneDNN and torch to AVX2; in front of a command."""


def parts_speed() -> str:
    found = results("components")
    engines, exits, geometry = found["engine_ms_batch_1"], found["early_exit_ms"], found["geometry_cpu_ms_256"]
    names = "; ".join(f"{name.removesuffix(' CPU')} {ms:.1f} ms" for name, ms in engines.items())
    measured = ", ".join(f"`{protocol}` {geometry[protocol]:.2f} ms" for protocol in PROTOCOLS)
    standard, other = exits["early exit, standard planes"], exits["early exit, other planes"]
    hand_off = found["hand_off_us"]
    return table(
        ("part", "time"),
        [
            ("network, one frame, 2 threads", names),
            ("network with early exit", f"{standard:.1f} ms on standard planes, {other:.1f} ms on others"),
            ("geometry at 256 x 256, CPU time", measured),
            ("making both structures convex, CPU time", f"{found['convex_cpu_ms_256']:.1f} ms"),
            ("one update of one track, CPU time", f"{found['tracking_cpu_us'] / 1000:.2f} ms"),
            ("hand-off between threads", f"p50 {hand_off['p50']:.0f} us, p99 {hand_off['p99']:.0f} us"),
            ("simulator at 512 x 512", f"{found['phantom_fps_512']:.0f} frames per second"),
        ],
    )


def engines_speed() -> str:
    """Every engine with all that the processor has, and kept to an older processor's instructions."""
    rows = []
    for suffix, kind in KINDS.items():
        for name, found in read(f"bench_model{suffix}")["engines"].items():
            moved = f"{found['agreement']['aop_delta_deg']['robust']['p95']:.2f}"
            if "latency_ms" not in found:
                rows.append((f"{name}, {kind}", "refused", moved, ""))
                continue
            times = " / ".join(f"{found['latency_ms'][share]:.1f}" for share in ("p50", "p90", "p99"))
            limit = found.get("roofline")
            share = f"{limit['share_of_limit']:.0%}, {limit['limited_by']}" if limit else ""
            rows.append((f"{name}, {kind}", times, moved, share))
    head = ("engine", "p50 / p90 / p99, ms", "AoP changes by, degrees (p95)", "share of the machine's limit")
    return table(head, rows)


def stream_speed() -> str:
    rows = []
    for suffix, kind in KINDS.items():
        for name, option in (("stream_asap", "--asap"), ("stream_30hz", "--rate 30"), ("stream_60hz", "--rate 60")):
            found = results(name + suffix)
            latency = found["latency_ms"]
            numbers = " / ".join(f"{latency[share]:.1f}" for share in ("p50", "p99", "p99.9")) if latency else ""
            dropped = f"{median(repeat['dropped_share'] for repeat in found['repeats']):.2%}" if latency else "none"
            rate = f"{found['frames_per_second']:.0f}"
            rows.append((f"`{option}`, {kind} ({source(name + suffix)})", found["engine"], rate, numbers, dropped))
    head = ("`partum bench stream`", "engine", "frames per second", "latency p50 / p99 / p99.9, ms", "dropped")
    return table(head, rows)


def stream_limits() -> str:
    """What the machine could do at best: the network at the peak of its arithmetic, and all else as it is."""
    rows = []
    for suffix, kind in KINDS.items():
        found, cores = results(f"stream_asap{suffix}"), read(f"stream_asap{suffix}")["machine"]["cores"]
        limit = read(f"bench_model{suffix}")["engines"][found["engine"]]["roofline"]
        network = limit["compute_limit_ms"] * cores  # its activations stay in the caches
        rest = found["cpu_ms_per_frame_without_network"]
        rows.append(
            (
                kind,
                f"{limit['peak_gops']:.0f}",
                f"{network:.1f}",
                f"{found['cpu_ms_per_frame'] - rest:.1f}",
                f"{rest:.1f}",
                f"{cores * 1e3 / (network + rest):.0f}",
                f"{found['frames_per_second']:.0f}",
            )
        )
    head = (
        "instructions",
        "peak, 10^9 operations/s",
        "network at that peak, CPU ms",
        "network, CPU ms",
        "all else, CPU ms",
        "most frames/s",
        "frames/s",
    )
    return table(head, rows)


def limited_results() -> str:
    """The result files of runs that were kept to an older processor's instructions, with their commands."""
    rows = [
        (f"`{path.name}`", f"the command of `{path.name.replace('_avx2', '')}`, with that `--out`, behind `{KEPT_TO}`")
        for path in sorted(RESULTS.glob("*_avx2.json"))
    ]
    return table(("file", "command"), rows) if rows else "There are none yet."


def stream_costs() -> str:
    found, capacity = results("stream_asap"), results("stream_30hz")["capacity"]["streams"]
    kept = [
        f", kept to {kind} {results(f'stream_30hz{end}')['capacity']['streams']}" for end, kind in KINDS.items() if end
    ]
    total, rest = found["cpu_ms_per_frame"], found["cpu_ms_per_frame_without_network"]
    (long,) = results("stream_100k")["repeats"]
    first, *_, last = long["resident_mb_by_tenths"]
    return paragraph(
        f"At 30 Hz this machine carries {capacity} feeds{''.join(kept)}. A frame costs {total:.0f} ms of"
        f" CPU time, {rest:.1f} ms of them outside the network, decoding included. Over 100,000 frames memory goes from"
        f" {first:.0f} to {last:.0f} MiB ({source('stream_100k')})."
    )


def peers_speed() -> str:
    rows = []
    kinds = [results(f"peers{suffix}") for suffix in KINDS]
    for name in kinds[0]["frames_per_second"]:
        row = [name]
        for found in kinds:
            rate, times = found["frames_per_second"].get(name), found["times_as_fast_as"].get(name)
            row += [f"{rate:.1f}" if rate else "", f"{times:.1f}" if times else ""]
        rows.append(row)
    head = ["program"]
    for kind in KINDS.values():
        head += [f"frames per second, {kind}", "Partum is so many times as fast"]
    return table(head, rows)


def live_ages() -> str:
    rows = []
    for name, found in results("live").items():
        if "read_ms" in found:
            ages = [f"{found[when]['p50']:.0f} / {found[when]['p95']:.0f} ms" for when in ("read_ms", "measured_ms")]
            rows.append((name, *ages))
        else:
            rows.append((name.removesuffix(", read_ms"), f"{found['p50']:.1f} / {found['p95']:.1f} ms", ""))
    return table(("feed", "age when read, median / 95th percentile", "age when measured"), rows)


def batch() -> str:
    found = results("batch")
    rows = [
        (
            each.get("length", name),
            str(each["recordings"]),
            f"{each['replays_s']:.0f} s",
            f"{each['batch_s']:.0f} s",
            f"{each['ratio']:.2f}",
        )
        for name, each in found.items()
        if isinstance(each, dict)
    ]
    head = ("each is", "recordings", "`replay` of one after the other", "`batch`", "throughput, times")
    return f"On {found['cores']} cores, films included, from {source('batch')}:\n\n{table(head, rows)}"


def receive() -> str:
    found = results("receive")
    rows = [
        (f"{name}: from its acknowledgement to its row", f"{each['median_s']:.2f} s (longest {each['most_s']:.2f} s)")
        for name, each in found.items()
        if isinstance(each, dict) and "median_s" in each
    ]
    for each in found["stills"]:
        at_once = each["associations"]
        over = f"{at_once} associations at once" if at_once > 1 else "one association"
        said = f"{each['stored_per_s']:.0f} a second stored, {each['measured_per_s']:.0f} a second measured"
        rows.append((f"a hundred stills over {over}", said))
    large = found["large"]
    rows += [
        (f"an uncompressed loop of {large['mb']} MB", f"{large['mb_per_s']} MB a second stored"),
        ("that loop: from its acknowledgement to its row", f"{large['measured_after_s']:.1f} s"),
        (
            "memory of the process that receives, at most",
            f"{found['peak_mb_at_first']:.0f} MB at its first object, {found['peak_mb_before_large']:.0f} MB before"
            f" that loop, {large['peak_mb']:.0f} MB behind it",
        ),
    ]
    where = f"On {found['cores']} cores, which DCMTK's `storescu` runs on too, from {source('receive')}"
    return f"{where}:\n\n{table(('what', 'value'), rows)}"


def archive() -> str:
    found = results("archive")
    rows = [
        (
            workers,
            f"{each['loops_per_second']:.2f}",
            f"{each['share_of_limit']:.0%}",
            f"{each['first_loop_s']:.0f} s",
        )
        for workers, each in found["by_workers"].items()
    ]
    head = ("workers", "loops a second once they run", "of the machine's limit", "until the first loop is done")
    limit = (
        f"Loops of {found['frames_each']} frames on {found['cores']} cores, from {source('archive')}. The limit,"
        f" {found['limit_loops_per_second']:.2f} loops a second, is what as many processes as cores do without Ray."
        f" Ray costs {found['ray_overhead_ms_a_loop']:.0f} ms a loop (loops of one frame, one worker:"
        f" {found['plain_ms_a_short_loop']:.0f} ms without Ray, {found['ray_ms_a_short_loop']:.0f} ms with it), and"
        f" the command {found['command_cpu_ms_a_loop']:.0f} ms of one core a loop."
    )
    return f"{paragraph(limit)}\n\n{table(head, rows)}"


def archive_million() -> str:
    found = results("archive")
    on_paper = found["million_loops"]
    given, hours = on_paper["assumptions"], on_paper["hours_by_part"]
    parts = ", ".join(f"{name} {value:.1f} h" for name, value in hours.items())
    text = (
        f"On paper: a million loops of {given['loop_frames']} frames and {given['loop_mb']:.0f} MB on"
        f" {given['nodes']} nodes take {on_paper['hours']:.1f} hours and {on_paper['price_usd']:,} US dollars. The"
        f" bottleneck is: {on_paper['bottleneck']}. Each part alone would take: {parts}."
    )
    assumed = (
        f"Assumed, not measured: one GPU a node at {given['gpu_frames_per_second']:,.0f} frames a second (the goal of"
        f" the engines; no GPU has run this), {given['cores']} cores a node as fast as those here,"
        f" {given['network_mb_per_second']:.0f} MB a second from the store, {given['price_per_hour']:.2f} dollars an"
        " hour a node, no node lost, and all parts side by side. Measured here:"
        f" {found['cpu_ms_a_frame_outside_network']:.1f} ms of a core a frame outside the network,"
        f" {found['cpu_ms_a_loop_beside_frames']:.0f} ms a loop beside its frames, and what Ray and the command cost."
    )
    return f"{paragraph(text)}\n\n{paragraph(assumed)}"
