"""Units of measurement with their names, and patterns that find them in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TABLE = """
mm 0.000001: nm, nanometer, nanometers, nanometre, nanometres
mm 0.001: μm, micron, microns, micrometer, micrometers, micrometre, micrometres, 微米
mm 1: mm, mms, millimeter, millimeters, millimetre, millimetres, 毫米, 公厘
mm 10: cm, cms, centimeter, centimeters, centimetre, centimetres, 厘米, 公分
mm 25.4: inch, inches, 英寸
mm 1000: m, meter, meters, metre, metres, 米
mm2 1: mm2, sq mm, square millimeter, square millimeters, square millimetre, square millimetres, 平方毫米
mm2 100: cm2, sq cm, square centimeter, square centimeters, square centimetre, square centimetres, 平方厘米
mm2 1000000: m2, square meter, square meters, square metre, square metres, 平方米
ml 0.001: μl, mm3, cubic millimeter, cubic millimeters, cubic millimetre, cubic millimetres, 微升, 立方毫米
ml 1: ml, mls, cc, ccs, cm3, milliliter, milliliters, millilitre, millilitres, cubic centimeter, cubic centimeters,
    cubic centimetre, cubic centimetres, 毫升, 立方厘米
ml 100: dl, deciliter, deciliters, decilitre, decilitres, 分升
ml 1000: l, liter, liters, litre, litres, 升
hu 1: hu, hounsfield, hounsfield unit, hounsfield units, 亨氏单位
% 1: %, percent, per cent
° 1: °, deg, degs, degree, degrees, 度
°c 1: °c, ° c, celsius, degrees celsius, 摄氏度
mg 0.001: μg, microgram, micrograms, 微克
mg 1: mg, mgs, milligram, milligrams, 毫克
mg 1000: g, gm, gms, gram, grams, gramme, grammes, 克
mg 453592.37: lb, lbs, pound, pounds, 磅
mg 1000000: kg, kgs, kilo, kilos, kilogram, kilograms, 公斤, 千克
day 0.000694444: min, mins, minute, minutes, 分钟
day 0.0416667: hr, hrs, hour, hours, 小时
day 1: day, days, 天, 日
day 7: wk, wks, week, weeks, 周, 星期
day 30.4375: mo, mos, month, months, 个月, 個月, 月
day 365.25: yr, yrs, year, years, yo, y o, y old, 岁, 歲, 年
s 0.001: ms, msec, msecs, millisecond, milliseconds, 毫秒
s 1: sec, secs, seconds, 秒
mm/s 10: cm/s, cm/sec, centimeters per second, centimetres per second
mm/s 1000: m/s, m/sec, meters per second, metres per second
mmhg 1: mmhg, mm hg, millimeters of mercury, millimetres of mercury, 毫米汞柱
mmhg 0.73556: cmh2o, cm h2o
mmhg 7.50062: kpa
fr 1: fr, french
kv 1: kv, kvp, kilovolt, kilovolts, 千伏
kev 1: kev
kev 1000: mev
ma 1: ma, 毫安
mas 1: mas
tesla 1: t, tesla, teslas, 特斯拉
s/mm2 1: s/mm2, sec/mm2
mgy 1: mgy
mgy 10: cgy
mgy 1000: gy, gray
msv 1: msv
msv 1000: sv, sievert, sieverts
mbq 0.001: kbq
mbq 1: mbq
mbq 37: mci
mbq 1000: gbq
mg/ml 0.01: mg/dl
mg/ml 1: mg/ml, g/l
mg/ml 10: g/dl
mg/ml 1000: g/ml
mmol/l 1: mmol/l
mmol/l 0.001: μmol/l
ng/ml 1: ng/ml, μg/l
kg/m2 1: kg/m2
per minute 1: bpm, beats per minute, beats/min
hz 1: hz
hz 1000: khz
hz 1000000: mhz
"""
SETTINGS = frozenset(("day", "fr", "kv", "tesla", "s/mm2"))
"""Dimensions whose values are known exactly: ages, sizes of catheters, settings of a device."""
_LETTERS = frozenset("mlgt")
"""Names of one letter, which next to a number may be something else: a station of lymph nodes (4L), a stage."""


def _units() -> Iterator[tuple[str, tuple[str, float]]]:
    for line in _TABLE.replace("\n    ", " ").strip().split("\n"):
        head, _, names = line.partition(": ")
        dimension, _, factor = head.rpartition(" ")
        for name in names.split(", "):
            yield name, (dimension, float(factor))


UNITS: dict[str, tuple[str, float]] = dict(_units())
"""Name of a unit to its dimension and its factor: lengths in mm, volumes in ml, masses in mg, times in days, ..."""


def _pattern() -> str:
    """Every name but those of one letter, the longest first, in any case; `l`, `g` and `T` as they are commonly written."""
    names = sorted(UNITS.keys() - _LETTERS, key=len, reverse=True)
    spelled = "|".join(re.escape(name).replace(r"\ ", r"\s") for name in names)
    return rf"(?:(?:(?i:{spelled})|[lgT])(?![A-Za-z]))"


UNIT = _pattern()
"""Pattern of a unit in a text."""
