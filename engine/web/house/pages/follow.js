// Of `homing serve --dev` alone: shows the page anew after each save of the project's files.
const { version, seen } = document.currentScript.dataset;
setInterval(async () => {
  try {
    const answer = await fetch(version, { cache: "no-store", redirect: "error" });
    if (answer.ok && (await answer.text()) !== seen) location.reload();
  } catch { /* the server is away for a moment */ }
}, 500);
