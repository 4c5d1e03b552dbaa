"""Chromium without a window, which opens pages from the disk with the network off."""

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}


class Visit:
    """A page that was opened, and what happened meanwhile.

    `path` is a file, which is opened with the network off, or the address of a server.

    Attributes:
        page: The page.
        asked: Addresses that it asked for, but its own and blobs.
        faults: Errors, and lines of the console but for WebGL's remarks.
    """

    def __init__(self, browser, path, *, size=DESKTOP, scheme="light"):
        self.asked, self.faults = [], []
        served = isinstance(path, str)
        self.context = browser.new_context(
            viewport=size,
            color_scheme=scheme,
            offline=not served,
            accept_downloads=True,
        )
        self.page = self.context.new_page()
        self.page.on("request", self._request)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._console)
        self.page.goto(path if served else path.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=60000)
        assert self.run("document.documentElement.dataset.ready") == "yes", self.faults

    def run(self, script, *given):
        """The value of an expression; `await` is allowed."""
        return self.page.evaluate(script, *given)

    def text(self, selector):
        """What is read in an element."""
        return self.page.inner_text(selector)

    def close(self):
        self.context.close()

    def _request(self, request):
        if not request.url.startswith(("blob:", "data:")):
            self.asked.append(request.url)

    def _console(self, message):
        if "GPU stall" not in message.text:
            self.faults.append(message.text)


def click(visit, region, modifiers=()):
    """Clicks on the middle of a region."""
    x, y = visit.run(
        """(region) => { const { city, map } = explored;
        const place = [city.centres[2 * region], city.centres[2 * region + 1]];
        const { x, y } = map.map.project(place);
        const box = map.map.getCanvas().getBoundingClientRect();
        return [box.left + x, box.top + y]; }""",
        region,
    )
    for modifier in modifiers:
        visit.page.keyboard.down(modifier)
    visit.page.mouse.click(x, y)
    for modifier in modifiers:
        visit.page.keyboard.up(modifier)


def search(visit):
    return visit.run(
        """async () => { await explored.similar.searched;
        const { state } = explored.similar;
        return { ...state, cosine: [...(state.cosine || [])] }; }"""
    )


def show(visit, layer):
    visit.run(
        """async (layer) => { const field = document.getElementById("layer");
        field.value = layer; field.oninput(); await explored.shown; }""",
        layer,
    )
    return visit.run(
        """() => ({ colours: [...explored.painted.colours],
        hatch: [...explored.painted.hatch], legend: explored.painted.legend })"""
    )


def begin(visit, kind="class", classes="park\nharbour <b>", name="mine"):
    """Begins to label, from nothing."""
    visit.run("() => { explored.label.end(); explored.showTab('tab-label'); }")
    visit.page.fill("#label-name", name)
    visit.page.select_option("#label-kind", kind)
    field = "#label-classes" if kind == "class" else "#label-unit"
    visit.page.fill(field, classes)
    visit.page.click("#label-begin")


def labels(visit):
    """Region -> class or number, as the page has them once their map is made."""
    return visit.run(
        """async () => { await explored.label.mapped; const now =
        explored.label.state.history.now; return Object.fromEntries(now.values); }"""
    )
