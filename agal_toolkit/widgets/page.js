// What ipywidgets lack: keys pressed in the panel around this widget go to the kernel, and bytes
// from the kernel are saved as a file. "t" goes to the panel's text field, Enter comes back from it.
export default {
  initialize({model}) {
    const save = ({name}, buffers) => {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(new Blob(buffers));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    };
    model.on('msg:custom', save);
    return () => model.off('msg:custom', save);
  },
  render({model, el}) {
    let panel = null, gone = false;
    const pressed = event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const typing = event.target.closest('input, textarea, select');
      if (typing && (event.key === 'Enter' || event.key === 'Escape')) {
        panel.focus();  // the field sends its text when it loses the focus
      } else if (!typing && event.key === 't') {
        panel.querySelector('input[type=text]:not([disabled])')?.focus();
      } else if (!typing && model.get('heard').includes(event.key)) {
        model.send({key: event.key});
      } else {
        return;
      }
      event.preventDefault();
      event.stopPropagation();
    };
    const attach = () => {
      panel = el.closest('.agal-panel');
      if (!panel) return gone || setTimeout(attach, 50);
      panel.tabIndex = 0;
      panel.dataset.lmSuppressShortcuts = 'true';  // else "a" makes a new cell in JupyterLab
      panel.addEventListener('keydown', pressed, true);  // text fields stop them
    };
    el.style.display = 'none';
    attach();
    return () => {
      gone = true;
      panel?.removeEventListener('keydown', pressed, true);
    };
  },
};
