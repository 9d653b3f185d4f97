// The search of the site runs in a Worker, which browsers refuse to a page opened as a file. For such a page this takes the
// Worker's place: the same script, in a hidden frame. The name is the one by which the plugin `offline` knows that it is here.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.document.open();
      // What a Worker has and a window has not, or has otherwise.
      inside.document.write(`<!doctype html><body><script>
        postMessage = data => parent.postMessage(data, "*");
        importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done, fail) => {
          const script = document.createElement("script");
          Object.assign(script, {src: url, onload: done, onerror: fail});
          document.body.append(script);
        })), Promise.resolve());
      <\/script><script src="${url}"><\/script>`);
      inside.document.close();
      this.ready = new Promise(done => inside.addEventListener("load", done));
      addEventListener("message", event => {
        if (event.source === inside) this.dispatchEvent(new MessageEvent("message", {data: event.data}));
      });
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", {data})));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
