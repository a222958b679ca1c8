// What can be seen in one element, and where it leads; frames inside are read by themselves. Reads only.
root => {
  const link = () => {
    for (const anchor of root.querySelectorAll('a[href], area[href]')) {
      const url = typeof anchor.href === 'string' ? anchor.href : '';
      if (/^https?:/i.test(url)) return url;
    }
    for (const target of root.querySelectorAll('[onclick]')) {
      const found = /https?:\/\/[^'"\s\\]+/i.exec(target.getAttribute('onclick'));
      if (found) return found[0];
    }
    return null;
  };
  return {text: (root.innerText || '').slice(0, 4000).toWellFormed(), link: (link() || '').slice(0, 4000).toWellFormed()};
}
