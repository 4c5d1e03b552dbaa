/* The keyboard reaches tables that are wider than the page, so that its arrows move them. */
addEventListener("load", () => {
  const reach = () => {
    for (const frame of document.querySelectorAll(".md-typeset__scrollwrap")) {
      if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0;
      else frame.removeAttribute("tabindex");
    }
  };
  reach();
  addEventListener("resize", reach);
});
