(() => {
  "use strict";
  if (window.monaiBrain) return;  // gradio runs what is in the head twice
  window.monaiBrain = true;
  const SIDE_BY_SIDE = 2, TRIES = 6;
  const find = (id) => document.getElementById(id);

  const say = (words, isBad) => {
    const status = find("mb-status");
    if (!status) return;
    status.textContent = words;
    status.classList.toggle("mb-bad", Boolean(isBad));
  };

  const name = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  };

  const write = (place, value) => {
    const box = document.querySelector(`${place} textarea, ${place} input`);
    box.value = JSON.stringify({ ...value, number: name() });
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const cancel = () => write("#mb-cancel", { cancel: true });

  const order = (value) => {
    if (document.querySelector(".mb-working")) cancel();
    write("#mb-order", value);
    const answer = find("mb-answer");
    if (answer.getBoundingClientRect().top > window.innerHeight / 2) answer.scrollIntoView({ block: "center" });
  };

  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  const sendOne = async (group, file) => {
    for (let tried = 1; ; tried += 1) {
      const reply = await fetch(`uploads/${group}`, {
        method: "POST", body: file, headers: { "X-File-Name": encodeURIComponent(file.name) },
      });
      if (reply.ok) return;
      if (reply.status !== 503 || tried === TRIES) throw new Error(await reply.text());
      await pause(tried);
    }
  };

  let latest = "";
  const sendAll = async (files) => {
    if (!files.length) return;
    const group = name(), waiting = [...files];
    latest = group;
    const work = async () => {
      while (waiting.length && latest === group) {
        say(`Sending ${files.length - waiting.length + 1} of ${files.length}`);
        await sendOne(group, waiting.shift());
      }
    };
    try {
      await Promise.all(Array.from({ length: SIDE_BY_SIDE }, work));
      if (latest !== group) return;
      say("");
      order({ upload: group });
    } catch (error) {
      waiting.length = 0;
      if (latest === group) say(error instanceof TypeError ? "The connection was lost; try again." : error.message, true);
    }
  };

  document.addEventListener("change", (event) => {
    if (event.target.id !== "mb-files") return;
    sendAll([...event.target.files]);
    event.target.value = "";
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("[data-cancel]")) {
      event.target.disabled = true;
      cancel();
      return;
    }
    const button = event.target.closest && event.target.closest("[data-example]");
    if (!button) return;
    say("");
    order({ example: Number(button.dataset.example) });
  });
  document.addEventListener("input", (event) => {
    if (event.target.id !== "mb-opacity") return;
    document.documentElement.style.setProperty("--mb-opacity", event.target.value / 100);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const area = find("mb-drop");
      if (!area || !event.dataTransfer) return;
      event.preventDefault();
      area.classList.toggle("mb-over", kind === "dragover");
      if (kind === "drop") sendAll([...event.dataTransfer.files]);
    });
  }
})();
