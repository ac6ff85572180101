//! RLDP answered by hand: `complete` and the first symbol of the answer in one datagram, as C++ nodes do (network appendix C, row 9).

use adnl::{Custom, Endpoint};
use rldp::{Body, Message, Packet, SYMBOL, Symbol};
use tokio::sync::mpsc;

use crate::question::Teller;

/// Answers questions of one symbol until the endpoint closes.
pub async fn run(endpoint: Endpoint, mut customs: mpsc::Receiver<Custom>, teller: Teller) {
    while let Some(custom) = customs.recv().await {
        if let Some(messages) = answer(&custom, &teller)
            && endpoint.customs(messages).await.is_err()
        {
            return;
        }
    }
}

fn answer(custom: &Custom, teller: &Teller) -> Option<Vec<Custom>> {
    let packet = Packet::parse(&custom.data).ok()?;
    let Body::Symbol(symbol) = packet.body else { return None };
    let Message::Query { id, data, .. } = Message::parse(symbol.data.get(..symbol.total_size)?).ok()? else { return None };
    let message = Message::Answer { id, data: &teller.tell(data)? }.to_bytes();
    let mut padded = message.clone();
    padded.resize(SYMBOL, 0);
    let answer = Symbol { data_size: message.len(), part: 0, total_size: message.len(), seqno: 0, data: &padded };
    let complete = Packet { body: Body::Complete { part: symbol.part }, ..packet };
    let answer = Packet { transfer: packet.transfer.map(|byte| !byte), body: Body::Symbol(answer), ..packet };
    let to_peer = |packet: Packet<'_>| Custom { peer: custom.peer, data: packet.to_bytes().into(), reply: false };
    Some(vec![to_peer(complete), to_peer(answer)])
}
