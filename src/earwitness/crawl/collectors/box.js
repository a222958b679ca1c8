// Where the ad of a slot is on the page: its largest frame, or the slot's element where it has no frame.
slot => {
  const area = box => box.width * box.height;
  const frames = [...slot.querySelectorAll('iframe')].map(frame => frame.getBoundingClientRect()).filter(box => area(box) > 16);
  const box = frames.sort((a, b) => area(b) - area(a))[0] || slot.getBoundingClientRect();
  return {
    framed: frames.length > 0,
    x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height,
    inside: box.x >= 0 && box.y >= 0 && box.right <= innerWidth && box.bottom <= innerHeight,
  };
}
