"""Notebook cells and Markdown as HTML, with formulas as MathML."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import lru_cache
from html import escape
from pathlib import Path

import nbformat

__all__ = ["markdown_html", "notebook_html", "opening"]


@lru_cache(maxsize=1)
def _renderer():
    # Slow to import, and wanted only when a report is built.
    from latex2mathml.converter import convert
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Renderer(IPythonRenderer):
        """nbconvert's Markdown with formulas converted here instead of by a script in the browser."""

        def inline_math(self, body: str) -> str:
            return convert(body.strip())

        def block_math(self, body: str) -> str:
            return convert(body.strip(), display="block")

        def multiline_math(self, text: str) -> str:
            return convert(text.strip("$ \n"), display="block")

        def latex_environment(self, name: str, body: str) -> str:
            return convert(f"\\begin{{{name}}}{body}\\end{{{name}}}", display="block")

    return Renderer


def markdown_html(source: str) -> str:
    """Render Markdown as Jupyter does, formulas as MathML."""
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    return MarkdownWithMath(renderer=_renderer()(escape=False)).render(source)


@lru_cache(maxsize=1)
def _exporter():
    from nbconvert import HTMLExporter

    return HTMLExporter(
        extra_template_basedirs=[str(Path(__file__).parent / "templates")],
        template_name="notebook",
        filters={"markdown2html": markdown_html},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )


def _without_html(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook in whose results Markdown holds no HTML: names of classes and files stand in them as they are."""
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if text := output.get("data", {}).get("text/markdown"):
                output["data"]["text/markdown"] = text.replace("<", "&lt;")
    return notebook


@lru_cache(maxsize=32)
def _body(content: str) -> str:
    """Of a notebook's text: a run renders a chapter while others are executed, and asks again for the report."""
    body, _ = _exporter().from_notebook_node(_without_html(nbformat.reads(content, as_version=4)))
    return body


def notebook_html(notebook: nbformat.NotebookNode, pages: set[str]) -> str:
    """Render the cells of an executed notebook, as a fragment without head and scripts.

    Links to notebooks lead to those of `pages`, by name; others become plain text.
    """
    body = _body(nbformat.writes(notebook))

    def link(found: re.Match) -> str:
        name, anchor = found["name"], found["anchor"] or ""
        return f'href="{escape(name)}.html{anchor}"' if name in pages else f'title="{escape(name)}"'

    return re.sub(r'href="(?:\./)?(?P<name>[\w-]+)\.ipynb(?P<anchor>#[^"]*)?"', link, body)


def opening(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """Title of a notebook, without Markdown, and its first paragraph as HTML.

    That is the first which is neither a heading nor a line of links, without a last sentence that leads to what follows
    it in the notebook; empty if there is none.
    """
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]
    title = next((block.lstrip("# ") for block in blocks if block.startswith("# ")), "Untitled")
    # A line of links is one in italics.
    links = re.compile(r"\*[^*].*[^*]\*", flags=re.S)
    story = next((block for block in blocks if not (block.startswith("#") or links.fullmatch(block))), "")
    story = re.sub(r"(?<=[.?!])\s[^.?!]*:$", "", story)
    return title, markdown_html(story).strip() if story else ""
