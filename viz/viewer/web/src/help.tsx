import { useEffect, useRef } from "preact/hooks";
import { isHelpOpen } from "./state";

const KEYS: readonly (readonly [string, readonly (readonly [readonly string[], string])[]])[] = [
  [
    "Anywhere",
    [
      [["/"], "search"],
      [["g"], "go to the graph"],
      [["1", "…", "9"], "a tab of the right side"],
      [["p"], "pin or unpin the selected node"],
      [["Ctrl", "Z"], "undo; with Shift, redo"],
      [["t"], "light, dark, or as the system has it"],
      [["?"], "this help"],
    ],
  ],
  [
    "In the graph",
    [
      [["←", "→"], "the node beside, on the same line"],
      [["↑", "↓"], "the nearest node on the next line"],
      [["i"], "the strongest input"],
      [["o"], "the strongest output"],
      [["Home", "End"], "the first and the last node"],
      [["Enter"], "details of the node"],
      [["Esc"], "select nothing"],
      [["Shift", "arrow"], "move the picture"],
      [["+", "−"], "zoom"],
      [["0"], "fit"],
    ],
  ],
];

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  const isOpen = isHelpOpen.value;
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  const close = () => {
    isHelpOpen.value = false;
  };
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close}>
      <h2 id="help-title">Keyboard and mouse</h2>
      <div class="columns">
        {KEYS.map(([where, keys]) => (
          <section key={where}>
            <h3>{where}</h3>
            <dl>
              {keys.map(([names, what]) => (
                <div key={what}>
                  <dt>
                    {names.map((name) => (
                      <kbd key={name}>{name}</kbd>
                    ))}
                  </dt>
                  <dd>{what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <p>
        Drag to move the graph, turn the wheel to zoom, click a node to select it and beside it to select nothing. Blue
        edges raise what they lead to, orange ones lower it; the thicker, the stronger.
      </p>
      <button type="button" onClick={close}>
        Close
      </button>
    </dialog>
  );
}
