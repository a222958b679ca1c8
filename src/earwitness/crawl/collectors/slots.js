// The ad units of every Prebid.js on the page, and whether it rendered a winner in each. Reads only.
[...new Set([...(window._pbjsGlobals || []), 'pbjs'])].filter(name => window[name]).flatMap(name => {
  const prebid = window[name];
  const ask = method => {
    try { return typeof prebid[method] === 'function' ? prebid[method]() : null; } catch { return null; }
  };
  const found = new Map();
  const add = (code, won) => code && found.set(String(code), won || found.get(String(code)) || false);
  for (const unit of prebid.adUnits || []) add(unit.code, false);
  for (const event of ask('getEvents') || []) {
    const args = event.args || {};
    if (event.eventType === 'bidRequested') (args.bids || []).forEach(bid => add(bid.adUnitCode, false));
    if (event.eventType === 'bidWon') add(args.adUnitCode, true);
    if (event.eventType === 'adRenderSucceeded') add((args.bid || {}).adUnitCode, true);
  }
  for (const bid of ask('getAllWinningBids') || []) add(bid.adUnitCode, true);
  return [...found].map(([code, won]) => ({code, won}));
})
