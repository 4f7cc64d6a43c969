# SPDX-License-Identifier: GPL-2.0-or-later
"""Throughput over time as SVG, a panel for each row of bench/copy."""
import math
from xml.sax.saxutils import escape

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 880, 300, 64, 190, 42, 46
COLOURS = ["#2f7ed8", "#e08214", "#1b9e77", "#7570b3", "#8c8c8c", "#a6761d"]
OURS = "#c2185b"


def rates(samples, seconds):
    """[(time, bytes a second)...] of [[time, bytes so far]...]: the mean of a SECONDS long window around each time."""
    def at(time):
        before, after = samples[0], samples[-1]
        for one in samples:
            if one[0] <= time:
                before = one
            else:
                after = one
                break
        share = (time - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0
        return before[1] + min(max(share, 0), 1) * (after[1] - before[1])
    end, points, middle = samples[-1][0], [], seconds / 2
    while middle < end + seconds / 2:
        begin, stop = max(middle - seconds / 2, 0), min(middle + seconds / 2, end)
        if stop - begin > seconds / 2 or not points:  # a stub of a window is all noise
            points.append(((begin + stop) / 2, (at(stop) - at(begin)) / (stop - begin)))
        middle += seconds
    return points


def ticks(most, count):
    """Round numbers from 0 to at least MOST, about COUNT of them."""
    raw = max(most, 1e-9) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * one for one in (1, 2, 2.5, 5, 10) if power * one >= raw * 0.999)
    return [step * at for at in range(math.ceil(most / step * 0.999) + 1)]


def text(x, y, words, anchor="start", more=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (x, y, anchor, more, escape(words))


def line(x1, x2, y1, y2, colour, more=""):
    return '<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s"%s/>' % (x1, x2, y1, y2, colour, more)


def panel(top, title, series, cap, colours):
    """One row: SERIES {program: samples}, of one run each. CAP in bytes a second or None. COLOURS {program: colour}."""
    end = max(samples[-1][0] for samples in series.values())
    window = max(end / 50, 0.15)
    lines = {name: rates([[0, 0]] + samples, window) for name, samples in series.items()}
    most = max([rate for points in lines.values() for _, rate in points] + [cap or 0, 1]) / 1e6
    across, up = ticks(end, 8), ticks(most, 5)
    width, height = WIDTH - LEFT - RIGHT, PANEL - TOP - BOTTOM

    def x(seconds):
        return LEFT + width * seconds / across[-1]

    def y(rate):
        return top + TOP + height * (1 - rate / 1e6 / up[-1])
    right, zero = LEFT + width, y(0)
    out = [text(LEFT, top + 20, title, more=' font-weight="bold" font-size="14"')]
    for tick in up:
        out += [line(LEFT, right, y(tick * 1e6), y(tick * 1e6), "#e4e4e4"),
                text(LEFT - 8, y(tick * 1e6) + 4, "%g" % tick, "end")]
    for tick in across:
        out += [line(x(tick), x(tick), zero, zero + 5, "#555"), text(x(tick), zero + 19, "%g" % tick, "middle")]
    out += [line(LEFT, right, zero, zero, "#555"), text(LEFT - 8, top + TOP - 10, "MB/s", "end"),
            text(LEFT + width / 2, zero + 37, "seconds since the program's start", "middle")]
    if cap:
        out.append(line(LEFT, right, y(cap), y(cap), "#333", ' stroke-dasharray="5 4"'))
    for number, (name, points) in enumerate(lines.items()):
        colour, thick = colours[name], 2.5 if colours[name] == OURS else 1.5
        stop, low = series[name][-1][0], top + TOP + 40 + number * 36
        out += ['<polyline fill="none" stroke="%s" stroke-width="%g" stroke-linejoin="round" points="%s"/>' % (
                    colour, thick, " ".join("%.1f,%.1f" % (x(at), y(rate)) for at, rate in points)),
                '<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>' % (x(stop), zero, colour),
                line(right + 12, right + 32, low, low, colour, ' stroke-width="%g"' % (thick + 1)),
                text(right + 38, low + 4, name), text(right + 38, low + 18, "done at %.2f s" % stop, more=' fill="#666"')]
    if cap:
        out.append(text(LEFT + 6, y(cap) - 6, "cap", more=' paint-order="stroke" stroke="#fff" stroke-width="4"'))
    return out


def draw(path, panels):
    """PANELS: [(title, {program: [[seconds, bytes]...]}, cap)...]. A dot on the axis is where a program ended."""
    height = PANEL * len(panels)
    names = dict.fromkeys(name for _, series, _ in panels for name in series if name != "vmferry")
    colours = {"vmferry": OURS, **{name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}}
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" '
           'font-size="12" fill="#222">' % (WIDTH, height, WIDTH, height), '<rect width="100%" height="100%" fill="#fff"/>']
    for number, one in enumerate(panels):
        out += panel(number * PANEL, *one, colours)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out + ["</svg>", ""]))
