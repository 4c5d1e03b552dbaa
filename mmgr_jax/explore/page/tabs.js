// Tabs as screen readers know them: arrow keys change, one is in the tab order.

/** Makes tabs of the buttons in an element; gives `show(id)`. `changed()` is called after. */
export function setUpTabs(element, changed) {
  const tabs = [...element.querySelectorAll('[role="tab"]')];
  const show = (chosen) => {
    for (const tab of tabs) {
      const own = tab === chosen;
      tab.setAttribute("aria-selected", String(own));
      tab.tabIndex = own ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !own;
    }
    changed();
  };
  tabs.forEach((tab, at) => {
    tab.onclick = () => show(tab);
    tab.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const to = { Home: 0, End: tabs.length - 1 }[event.key];
      if (step === undefined && to === undefined) return;
      const next = tabs[to ?? (at + step + tabs.length) % tabs.length];
      show(next);
      next.focus();
      event.preventDefault();
    };
  });
  return (id) => show(document.getElementById(id));
}
