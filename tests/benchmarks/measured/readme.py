"""Makes the table of the two READMEs: four rows, each with a link to what is behind it."""

from __future__ import annotations

from typing import Final

from tests.benchmarks.measured.figures import Figures
from tests.benchmarks.measured.tables import NOT_MEASURED, Row, markdown
from tests.benchmarks.measured.targets import rate

STOCK: Final = "Faust, an event at a time"
ENGLISH: Final = {
    "what": "measured",
    "beside": "beside it",
    "kill": "killed with -9 in the middle: events lost / doubled",
    "rate": "events/s with the demo model, batches of 4,096",
    "time": "one event to its update, p50; 1,000,000 users recovered",
    "hits": "the next item is among ten named (HR@10)",
    "recovery": "recovery",
    "speed": "speed",
    "latency": "latency",
    "targets": "all targets, met and missed",
    "stock": "stock Faust",
    "none": NOT_MEASURED,
    "best": "best baseline",
    "retail": "retail",
    "movietweetings_live": "movietweetings with live popularity",
    "beauty": "Beauty as published tables count",
    "colon": ": ",
}
CHINESE: Final = {
    "what": "实测项目",
    "beside": "对照",
    "kill": "处理中途被 kill -9：丢失 / 重复的事件数",
    "rate": "使用演示模型、每批至多 4,096 个事件时的吞吐量（事件/秒）",
    "time": "单个事件到更新的延迟（p50）；恢复 100 万用户状态的时间",
    "hits": "下一个物品落在前十个推荐中的比例（HR@10）",
    "recovery": "恢复",
    "speed": "吞吐量",
    "latency": "延迟",
    "targets": "全部目标，含未达到的",
    "stock": "原生 Faust",
    "none": "此版代码尚未实测",
    "best": "最佳基线",
    "retail": "retail",
    "movietweetings_live": "movietweetings（实时热度）",
    "beauty": "Beauty（按已发表论文的协议）",
    "colon": "：",
}
README_STUDIES: Final = (
    ("retail", "", "retail"),
    ("movietweetings", "live", "movietweetings_live"),
    ("beauty-hold-out", "", "beauty"),
)
"""Study, way of asking, and the word for it."""


def readme(page: str, figures: Figures) -> list[str]:
    """Returns the four rows of a README, in its language."""
    words = CHINESE if page.endswith("zh-CN.md") else ENGLISH
    rows = [
        (
            words["kill"],
            *_killed(figures, words),
            f"[{words['recovery']}](docs/measured/recovery.md)",
        ),
        (words["rate"], *_rates(figures, words), f"[{words['speed']}](docs/measured/speed.md)"),
        (words["time"], *_times(figures, words), f"[{words['latency']}](docs/measured/latency.md)"),
        (words["hits"], *_hits(figures, words), f"[{words['targets']}](docs/measured/index.md)"),
    ]
    return markdown((words["what"], "interest-stream", words["beside"], ""), rows)


def _killed(figures: Figures, words: dict[str, str]) -> Row:
    ours, stock = (
        [figures.spread("kill", name, form=form) for name in ("lost", "doubled")]
        for form in ("interest-stream", STOCK)
    )
    mine, theirs = (
        " / ".join(f"{each.most:,.0f}" for each in found if each) for found in (ours, stock)
    )
    return mine or words["none"], f"{words['stock']}{words['colon']}{theirs}" if theirs else ""


def _rates(figures: Figures, words: dict[str, str]) -> Row:
    ours, stock = rate(figures, "interest-stream"), rate(figures, STOCK)
    if ours is None or stock is None:
        return words["none"], ""
    return f"{ours.middle:,.0f}", f"{words['stock']}{words['colon']}{stock.middle:,.0f}"


def _times(figures: Figures, words: dict[str, str]) -> Row:
    idle = figures.named("latency", "p50 of one event on an idle topic")
    start = figures.named("recovery", "start of the process to the first update")
    shown = (
        words["none"] if idle is None else f"{idle.middle:.1f} ms",
        words["none"] if start is None else f"{start.middle:.1f} s",
    )
    return "; ".join(dict.fromkeys(shown)), ""


def _hits(figures: Figures, words: dict[str, str]) -> Row:
    mine, theirs = [], []
    for study, way, title in README_STUDIES:
        answers = figures.answers(study, way)
        if answers is None:
            continue
        best = answers.best_baseline("HR@10")
        mine.append(f"{words[title]} {answers.of('model', 'HR@10').middle:.3f}")
        theirs.append(f"{answers.of(best, 'HR@10').middle:.3f}")
    if not mine:
        return words["none"], ""
    return ", ".join(mine), f"{words['best']}{words['colon']}{', '.join(theirs)}"
