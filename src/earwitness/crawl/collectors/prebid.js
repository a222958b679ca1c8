// What every Prebid.js on the page knows of its auctions, as plain data. Reads only.
[...new Set([...(window._pbjsGlobals || []), 'pbjs'])].filter(name => window[name]).map(name => {
  const prebid = window[name];
  const ask = (method, ...args) => {
    try { return typeof prebid[method] === 'function' ? prebid[method](...args) : null; } catch { return null; }
  };
  const text = value => value === undefined || value === null ? null : String(value).slice(0, 2000);
  const number = value => value !== null && value !== '' && Number.isFinite(+value) ? +value : null;
  const dollars = bid => {
    try { return number(bid.getCpmInNewCurrency('USD')); } catch { return null; }
  };
  const plain = bid => ({
    id: text(bid.requestId || bid.bidId),
    ad: text(bid.adId),
    auction: text(bid.auctionId),
    slot: text(bid.adUnitCode),
    bidder: text(bid.bidder || bid.bidderCode),
    asked_by: [bid.bidderRequestId, bid.transactionId, bid.adUnitId].map(text).filter(Boolean),
    cpm: number(bid.cpm),
    currency: text(bid.currency),
    original_cpm: number(bid.originalCpm),
    original_currency: text(bid.originalCurrency),
    dollars: dollars(bid),
    width: number(bid.width),
    height: number(bid.height),
    latency: number(bid.timeToRespond),
    creative: text(bid.creativeId),
    advertiser: text(((bid.meta || {}).advertiserDomains || [])[0]),
  });
  const bids = event => {
    const args = event.args || {};
    switch (event.eventType) {
      case 'bidRequested': return args.bids || [];
      case 'bidTimeout': return Array.isArray(args) ? args : [];
      case 'bidderError': return (args.bidderRequest || {}).bids || [];
      case 'bidResponse': case 'bidRejected': case 'noBid': case 'bidWon': return [args];
      case 'auctionInit': case 'auctionEnd': return [{auctionId: args.auctionId}];
      default: return null;
    }
  };
  const held = answers => Object.values(answers || {}).flatMap(slot => slot.bids || []).map(plain);
  return {
    name,
    version: text(prebid.version),
    events: (ask('getEvents') || []).map(event => ({type: event.eventType, at: number(event.elapsedTime), bids: bids(event)}))
      .filter(event => event.bids).map(event => ({...event, bids: event.bids.map(plain)})),
    responses: held(ask('getBidResponses')),
    no_bids: held(ask('getNoBids')),
    won: (ask('getAllWinningBids') || []).map(bid => text(bid.adId)),
  };
})
