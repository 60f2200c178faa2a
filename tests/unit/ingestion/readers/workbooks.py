"""Small spreadsheets, written by hand: what calamine reads is then known to the byte."""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from collections.abc import Mapping

# xlwt 1.3 wrote it: A1 "a", A2 1, B2 true.
XLS = zlib.decompress(
    base64.b64decode(
        "eNrtWD1oFEEU/mZzm/vhctmNFyERwhEwakwjNjbJJoKmMkQbRQS9mCsk4SKHjRYajVcKgpViE0gjSNTGH7TQzkKIaCEIwp2WVoKCRXLrm+9m9a"
        "IWOdBgZL7lffPuzd+bnTezN/Nyya/M3+uu4icMoQW1MInWBpsSSUY/PEh+GGo1ShMiocWGQjIhE9nq4nHbi7ieQz3fVTi4G3smDLwXOYbTGJsp"
        "FnLriL30Ia+0D4PCCjfFkkEXveognyRvIt9hySfkYVqukAelbEUdxVIw1r/HRPERp5d5Geh2H7DOW1p2oRPPdRRfuKrqZV2MlE7lp//NjJ5YGg"
        "uQeRstFAul/HQFWZnABXwJc8DnaKU+zVn7+toVxP51tT3+G/s1JwbMIjzBAC/L5nq7pT7BI8tIc781kk/pvZdr1Vu1VtsYw2nhSbRT9xnJnuzG"
        "y7c+vTowMR4cp2WW+3O9xa26Y4S4qGtI5QxznO/cT95JvsRWt1DvJmcl/iTtG+80yv45lrnM3D7pZzfxOtjWoG8Xvfzx4MOe8odgh+iLo9Vz2c"
        "U3wTx6ZeCTUl8/cxhQA+rGdY1HQZQqs+Lfkbt+Wf0JxzNjC82nqh0rSFH1ybqE4uh+lDjvpGjz+SZdJ0EPfJEhpwP3+TqGG75/KVhYWFhYWFhY"
        "WFhsbCjzj1+fO/SZwDXniri511kRqdlrkv8WhzAjzxk5mO5DUdISzjYVP5vhqqgttcY60X2hxmHpvYQpTNCPqabjV86FqnE8a67o/bkl1Gz/tW"
        "b8/Mv9fwM7pbe9"
    )
)

_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_DATE_STYLE = "<cellXfs><xf numFmtId='0'/><xf numFmtId='14'/><xf numFmtId='22'/><xf numFmtId='46'/></cellXfs>"

DATE, MOMENT, DURATION = 1, 2, 3
"""Styles of cells."""


def number(reference: str, value: float, style: int = 0) -> str:
    return f'<c r="{reference}" s="{style}"><v>{value!r}</v></c>'


def text(reference: str, value: str) -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{value}</t></is></c>'


def boolean(reference: str, value: bool) -> str:
    return f'<c r="{reference}" t="b"><v>{int(value)}</v></c>'


def error(reference: str, value: str) -> str:
    return f'<c r="{reference}" t="e"><v>{value}</v></c>'


def xlsx(sheets: Mapping[str, Mapping[int, list[str]]]) -> bytes:
    """A workbook of sheets by name; a sheet has cells by row, from 1."""
    names = list(sheets)
    books = "".join(f'<sheet name="{name}" sheetId="{index}" r:id="r{index}"/>' for index, name in enumerate(names, 1))
    targets = "".join(
        f'<Relationship Id="r{index}" Type="{_RELATED}/worksheet" Target="worksheets/sheet{index}.xml"/>'
        for index in range(1, len(names) + 1)
    )
    styles = f'<Relationship Id="s" Type="{_RELATED}/styles" Target="styles.xml"/>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="b" Type="{_RELATED}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_RELATED}"><sheets>{books}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{targets}{styles}</Relationships>',
        "xl/styles.xml": f"<styleSheet {_MAIN}>{_DATE_STYLE}</styleSheet>",
    }
    for index, name in enumerate(names, 1):
        rows = "".join(f'<row r="{row}">{"".join(cells)}</row>' for row, cells in sheets[name].items())
        parts[f"xl/worksheets/sheet{index}.xml"] = f"<worksheet {_MAIN}><sheetData>{rows}</sheetData></worksheet>"
    return _zipped(parts)


def ods(rows: str) -> bytes:
    """A document with one sheet, `S`, of rows in XML."""
    spaces = " ".join(f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{short}:1.0"' for short in ("office", "table", "text"))
    calc = 'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
    body = f'<office:body><office:spreadsheet><table:table table:name="S">{rows}</table:table></office:spreadsheet></office:body>'
    return _zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
            "content.xml": f"<office:document-content {spaces} {calc}>{body}</office:document-content>",
        }
    )


def _zipped(parts: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name == "mimetype" else None)
    return buffer.getvalue()
