//! Between a node's database and the chain, as the chain-indexer will be: orders become transactions after a while, once; transactions
//! become rows in the task table, in their order.

use contract::{ChallengeToSign, InitToSign, Message, Pair, Side, StartToSign, ToSign, constants};
use ed25519_dalek::{Signer, SigningKey};
use protocol::{Address, ChainUpdate, ChannelRow, NewTask, OrderMessage, Task};
use ton::Cell;
use wire::state::{SignedState, State};

use crate::{
    chain::Seen,
    world::{Happening, World},
};

/// A message to a contract, with its value.
type Sent = (u128, Cell);

pub(crate) fn side_of(row: &ChannelRow) -> Side {
    if row.left { Side::A } else { Side::B }
}

fn signed(key: &SigningKey, state: &State) -> SignedState {
    SignedState { signature: key.sign(&state.hash()).to_bytes(), state: *state }
}

fn signature(key: &SigningKey, part: &impl ToSign) -> [u8; 64] {
    key.sign(&part.hash()).to_bytes()
}

pub(crate) fn start_message(key: &SigningKey, by: Side, id: [u8; 16], states: Pair<SignedState>) -> Message {
    let part = StartToSign { channel_id: id, states };
    Message::StartUncooperativeClose { by, signature: signature(key, &part), part }
}

pub(crate) fn challenge_message(key: &SigningKey, by: Side, id: [u8; 16], states: Pair<SignedState>) -> Message {
    let part = ChallengeToSign { channel_id: id, states };
    Message::Challenge { by, signature: signature(key, &part), part }
}

/// The message of an order, signed.
fn message(key: &SigningKey, row: &ChannelRow, order: &OrderMessage) -> Sent {
    let (by, id) = (side_of(row), row.config.channel_id);
    let close = constants::CLOSE_VALUE;
    match order {
        OrderMessage::Init => {
            let part = InitToSign { channel_id: id };
            let init = Message::Init { by, signature: signature(key, &part), part };
            (row.config.payment.storage_fee + constants::DEPLOY_VALUE, init.to_cell())
        }
        OrderMessage::TopUp { amount } => (amount + constants::TON_ACCEPT, Message::TopUp { side: by }.to_cell()),
        OrderMessage::CooperativeClose { to_sign, peer_signature } => {
            let signatures = Pair::of(by, signature(key, to_sign), *peer_signature);
            (close, Message::CooperativeClose { signatures, part: to_sign.clone() }.to_cell())
        }
        OrderMessage::CooperativeCommit { to_sign, peer_signature } => {
            let signatures = Pair::of(by, signature(key, to_sign), *peer_signature);
            (constants::COMMIT_VALUE, Message::CooperativeCommit { signatures, part: to_sign.clone() }.to_cell())
        }
        OrderMessage::Start { our, their } => {
            (close, start_message(key, by, id, Pair::of(by, signed(key, our), *their)).to_cell())
        }
        OrderMessage::Challenge { our, their } => {
            (close, challenge_message(key, by, id, Pair::of(by, signed(key, our), *their)).to_cell())
        }
        OrderMessage::Settle(part) => {
            let message = Message::SettleConditionals { from: by, signature: signature(key, &**part), part: (**part).clone() };
            (constants::SETTLE_VALUE, message.to_cell())
        }
        OrderMessage::Finish => (close, Message::Finish.to_cell()),
    }
}

fn name(order: &OrderMessage) -> &'static str {
    match order {
        OrderMessage::Init => "order: initialise",
        OrderMessage::TopUp { .. } => "order: top up",
        OrderMessage::CooperativeClose { .. } => "order: cooperative close",
        OrderMessage::CooperativeCommit { .. } => "order: withdraw",
        OrderMessage::Start { .. } => "order: start an uncooperative close",
        OrderMessage::Challenge { .. } => "order: challenge",
        OrderMessage::Settle(_) => "order: settle",
        OrderMessage::Finish => "order: finish",
    }
}

impl World {
    pub(crate) fn orders_soon(&mut self, node: usize) {
        let due = self.now + self.rng.between(50, 3_000);
        if self.nodes[node].orders_at.is_none_or(|at| at <= self.now) {
            self.nodes[node].orders_at = Some(due);
            self.at(due, Happening::Orders(node));
        }
    }

    pub(crate) fn take_orders(&mut self, node: usize) {
        for order in std::mem::take(&mut self.nodes[node].store.new_orders) {
            let Some(row) = self.nodes[node].store.orders.get_mut(&order) else { continue };
            row.taken = true;
            let channel = row.channel;
            // One wallet, one sender: orders are executed one after the other (design 3).
            let due = (self.now + self.rng.between(1_000, 8_000)).max(self.nodes[node].sent_until + 1);
            self.nodes[node].sent_until = due;
            let what = if !self.quiet && self.rng.chance(100) {
                self.coverage.hit("order: failed, and was reported so");
                Happening::OrderFailed { node, channel, order }
            } else {
                Happening::Transaction { node, order }
            };
            self.at(due, what);
        }
    }

    pub(crate) fn execute_order(&mut self, node: usize, id: &str) {
        if !self.orders_executed.insert((node, id.to_owned())) {
            return self.broke("effects happen once", format!("order {id} was sent twice"));
        }
        let Some(order) = self.nodes[node].store.orders.get(id).cloned() else { return };
        let channel = order.channel;
        let Some(rows) = self.nodes[node].store.channels.get(&channel) else { return };
        let row = rows.row.clone();
        self.check_order(node, &channel, &order.order.message);
        if order.order.message == OrderMessage::Init {
            self.chain.deploy(channel, &row.config);
        }
        let (value, body) = message(&self.nodes[node].key, &row, &order.order.message);
        let worked = self.transact(node, &channel, value, &body);
        self.say(|w| {
            let (who, what) = (w.nodes[node].name, name(&order.order.message));
            format!("chain: {who} {} {what} {worked:?}", hex::encode(&channel[..4]))
        });
        if worked.is_ok() {
            self.coverage.hit(name(&order.order.message));
        } else {
            self.coverage.hit("order: the contract refused it");
            let delay = self.rng.between(500, 5_000);
            self.after(delay, Happening::OrderFailed { node, channel, order: id.to_owned() });
        }
    }

    /// Executes one message and shows it to both ends.
    pub(crate) fn transact(&mut self, node: usize, channel: &Address, value: u128, body: &Cell) -> Result<(), i32> {
        let wallet = self.nodes[node].wallet;
        let was = self.chain.contracts.get(channel).map(|c| c.storage);
        let result = self.chain.execute(self.now / 1000, wallet, channel, value, body);
        self.check_chain();
        let seen = result?;
        if let Ok(Message::Init { .. }) = Message::parse(body.as_ref()) {
            self.nodes[node].reserves += seen.storage.payment.storage_fee;
        }
        if was.is_some_and(|s| s.initialised) && !seen.storage.initialised {
            // Side A gets the value that was attached.
            self.nodes[node].reserves += value;
        }
        if was.is_some_and(|s| s.initialised && s.quarantine.is_some()) && !seen.storage.initialised {
            self.forced = true;
            self.coverage.hit("chain: closed without the peer");
        }
        self.show(channel, &seen);
        Ok(())
    }

    fn show(&mut self, channel: &Address, seen: &Seen) {
        let Some(link) = self.by_address.get(channel).map(|i| self.links[*i].clone()) else { return };
        for (node, side) in link.ends.into_iter().zip([Side::A, Side::B]) {
            let settled = match &seen.settled {
                Some((from, resolutions)) if *from != side => resolutions.clone(),
                _ => vec![],
            };
            let our_states = seen.states.iter().map(|pair| *pair.get(side)).collect();
            let update = ChainUpdate { lt: seen.lt, storage: seen.storage, settled, our_states };
            let earliest = self.now + self.rng.between(200, 4_000);
            let last = self.nodes[node].indexed_until.get(channel).copied().unwrap_or(0);
            let due = earliest.max(last + 1);
            self.nodes[node].indexed_until.insert(*channel, due);
            self.at(due, Happening::Update { node, channel: *channel, update: Box::new(update) });
        }
    }

    pub(crate) fn index_update(&mut self, node: usize, channel: Address, update: ChainUpdate) {
        let id = format!("chain:{}:{}", hex::encode(&channel[..4]), update.lt);
        self.nodes[node].store.add_task(NewTask { id, channel, task: Task::Chain(Box::new(update)) });
        self.poll_soon(node);
    }

    pub(crate) fn index_failure(&mut self, node: usize, channel: Address, order: String) {
        let id = format!("failed:{order}");
        self.nodes[node].store.add_task(NewTask { id, channel, task: Task::OrderFailed { order } });
        self.poll_soon(node);
    }
}
