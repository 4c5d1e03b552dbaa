"""Modules joined into one script: the forms that are understood, others refused."""

import pytest

from mmgr_jax.explore import document, scripts

MODULES = {
    "low": "export const ONE = 1;\nexport function twice(x) {\n  return 2 * x;\n}\n",
    "middle": 'import { twice } from "./low.js";\n\nexport class Four {}\n'
    "export async function four() {\n  return twice(twice(1));\n}\n",
    "main": 'import { four } from "./middle.js";\nimport { ONE } from "./low.js";\n'
    "start(four, ONE);\n",
}


def test_modules_come_after_those_they_import_from_and_once():
    text = scripts.joined(MODULES, "main")
    places = [text.index(f"const module_{name} =") for name in MODULES]
    assert places == sorted(places)
    assert text.count("const module_low =") == 1
    assert "const { four } = module_middle;" in text
    assert "return { Four, four };" in text
    assert "import" not in text and "export" not in text


@pytest.mark.parametrize(
    "line",
    [
        "export default 1;",
        "export { four };",
        'import * as low from "./low.js";',
        'import {\n  twice,\n} from "./low.js";',
        'import "./low.js";',
        "export let x = 1;",
    ],
)
def test_other_forms_are_refused(line):
    with pytest.raises(ValueError, match="other.js: cannot join"):
        scripts.joined(MODULES | {"other": line}, "other")


def test_a_circle_and_a_missing_module_are_refused():
    low = MODULES["low"] + 'import { four } from "./middle.js";\n'
    with pytest.raises(ValueError, match="circle: main -> middle -> low -> middle"):
        scripts.joined(MODULES | {"low": low}, "main")
    with pytest.raises(ValueError, match="main: no module middle.js"):
        scripts.joined({"main": MODULES["main"]}, "main")


@pytest.mark.parametrize("entry", ["main", "worker"])
def test_scripts_of_the_page_join_and_take_no_markup(entry):
    modules = {path.stem: path.read_text() for path in document.FOLDER.glob("*.js")}
    text = scripts.joined(modules, entry)
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write",
                 "eval(", "new Function", "http://", "https://"):  # fmt: skip
        assert word not in text, word


def test_every_sentence_is_used_and_every_one_used_is_there():
    texts = [
        path.read_text()
        for path in document.FOLDER.iterdir()
        if path.suffix in (".js", ".html")
    ]
    whole = "\n".join(texts)
    built = (
        "layers.",
        "filter.",
        "similar.",
        "label.fault.",
        "label.why.",
    )  # some names are put together
    for name in document.strings():
        used = f'"{name}"' in whole or f"{{{{{name}}}}}" in whole
        assert used or name.startswith(built), name
