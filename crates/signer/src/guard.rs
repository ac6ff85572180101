//! The guard against two own bodies for one seqno (design 4.1).

use std::collections::HashMap;

use wire::{Body, State};

/// Identity of a channel: its id, fresh for each channel that ever lived.
type ChannelId = [u8; 16];

/// What the body of a state to be signed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The agreed body, signed again with a newer counterparty copy: the answer to a proposal of the peer.
    Answer,
    /// The next body, built on this agreed one: an own proposal.
    Action {
        /// The last body that both sides agreed on.
        agreed: Body,
    },
    /// The agreed body with the next seqno and nothing else changed, after a refusal of the action was committed.
    SettlingIncrement {
        /// The last body that both sides agreed on.
        agreed: Body,
    },
}

/// What was signed of a channel's open seqno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBodies {
    /// The channel.
    pub channel_id: ChannelId,
    /// The last agreed body.
    pub agreed: Body,
    /// The action signed on top of it, if any.
    pub action: Option<Body>,
    /// The settling increment signed on top of it, if any.
    pub increment: Option<Body>,
}

/// Why the guard refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not the agreed one, nor one that was signed on top of it.
    #[error("body at seqno {seqno} is neither agreed nor open; the agreed seqno is {agreed}")]
    NotAgreed {
        /// Of the body.
        seqno: u64,
        /// What the guard knows.
        agreed: u64,
    },
    /// The seqno is not the one after the agreed one.
    #[error("seqno {seqno} does not follow the agreed seqno {agreed}")]
    SeqnoGap {
        /// Of the body.
        seqno: u64,
        /// Agreed.
        agreed: u64,
    },
    /// Another action was signed at this seqno.
    #[error("another action was signed at seqno {seqno}")]
    SecondAction {
        /// Of both.
        seqno: u64,
    },
    /// A settling increment changes more than the seqno.
    #[error("the settling increment at seqno {seqno} changes more than the seqno")]
    NotAnIncrement {
        /// Of the body.
        seqno: u64,
    },
    /// `sent` would fall.
    #[error("sent would fall from {from} to {to} nano")]
    SentFalls {
        /// Agreed.
        from: u128,
        /// Proposed.
        to: u128,
    },
    /// The channel is not known and the body is not a start value: rows were not restored.
    #[error("the channel is not known to the guard, and the body is not a start value")]
    UnknownChannel,
    /// The database is behind what was signed.
    #[error("the database says seqno {rows} is agreed, but bodies on top of {signed} were signed")]
    StaleRows {
        /// By the rows.
        rows: u64,
        /// By the guard.
        signed: u64,
    },
}

/// Remembers per channel the last agreed body and the bodies signed on top of it: at most one action and one settling increment.
///
/// A body becomes agreed here when the caller names it as such; from then on nothing at its seqno or below is signed again, except itself. So
/// however often a caller is wrong or repeats itself, of one seqno at most an action and an increment exist.
#[derive(Debug, Default)]
pub struct Guard {
    channels: HashMap<ChannelId, SignedBodies>,
}

impl Guard {
    /// Takes over what the database holds, for all channels or for none.
    ///
    /// # Errors
    /// [`Refusal::StaleRows`]: rows two or more seqnos behind. One behind is a commit that failed, whose signatures were never released.
    pub fn restore(&mut self, channels: Vec<SignedBodies>) -> Result<(), Refusal> {
        for rows in &channels {
            let signed = self.channels.get(&rows.channel_id).map_or(0, |known| known.agreed.seqno);
            if rows.agreed.seqno.saturating_add(1) < signed {
                return Err(Refusal::StaleRows { rows: rows.agreed.seqno, signed });
            }
        }
        self.channels.extend(channels.into_iter().map(|rows| (rows.channel_id, rows)));
        Ok(())
    }

    /// Allows or refuses a signature, and remembers the body when it is allowed.
    ///
    /// # Errors
    /// Nothing is remembered.
    pub fn check(&mut self, state: &State, step: Step) -> Result<(), Refusal> {
        let basis = match step {
            Step::Answer => state.body,
            Step::Action { agreed } | Step::SettlingIncrement { agreed } => agreed,
        };
        let mut bodies = match self.channels.get(&state.channel_id) {
            Some(known) => known.agreed_is(basis)?,
            None if basis == Body::start(basis.seqno) => SignedBodies::on(state.channel_id, basis),
            None => return Err(Refusal::UnknownChannel),
        };
        match step {
            Step::Answer => {}
            Step::Action { .. } => bodies.add_action(state.body)?,
            Step::SettlingIncrement { .. } => bodies.add_increment(state.body)?,
        }
        self.channels.insert(state.channel_id, bodies);
        Ok(())
    }
}

impl SignedBodies {
    /// Nothing signed on top of an agreed body.
    pub fn on(channel_id: ChannelId, agreed: Body) -> Self {
        Self { channel_id, agreed, action: None, increment: None }
    }

    /// With `body` as the agreed one: it is so already, or one of the open ones became it, which voids the other.
    fn agreed_is(&self, body: Body) -> Result<Self, Refusal> {
        if body == self.agreed {
            Ok(*self)
        } else if Some(body) == self.action || Some(body) == self.increment {
            Ok(Self::on(self.channel_id, body))
        } else {
            Err(Refusal::NotAgreed { seqno: body.seqno, agreed: self.agreed.seqno })
        }
    }

    fn add_action(&mut self, body: Body) -> Result<(), Refusal> {
        self.follows(&body)?;
        if body.sent < self.agreed.sent {
            return Err(Refusal::SentFalls { from: self.agreed.sent, to: body.sent });
        }
        match self.action {
            Some(signed) if signed != body => Err(Refusal::SecondAction { seqno: body.seqno }),
            _ => {
                self.action = Some(body);
                Ok(())
            }
        }
    }

    fn add_increment(&mut self, body: Body) -> Result<(), Refusal> {
        self.follows(&body)?;
        if body != (Body { seqno: body.seqno, ..self.agreed }) {
            return Err(Refusal::NotAnIncrement { seqno: body.seqno });
        }
        self.increment = Some(body);
        Ok(())
    }

    fn follows(&self, body: &Body) -> Result<(), Refusal> {
        if Some(body.seqno) == self.agreed.seqno.checked_add(1) {
            return Ok(());
        }
        Err(Refusal::SeqnoGap { seqno: body.seqno, agreed: self.agreed.seqno })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    const ID: ChannelId = [7; 16];

    fn state(body: Body) -> State {
        State { channel_id: ID, body, counterparty: None }
    }

    fn body(seqno: u64, sent: u128) -> Body {
        Body { seqno, sent, conditionals: [0; 32] }
    }

    fn at(agreed: Body) -> Guard {
        let mut guard = Guard::default();
        guard.restore(vec![SignedBodies::on(ID, agreed)]).unwrap();
        guard
    }

    #[test]
    fn an_action_then_its_settling_increment_and_no_third() {
        let agreed = body(5, 10);
        let mut guard = at(agreed);
        let action = body(6, 20);
        guard.check(&state(action), Step::Action { agreed }).unwrap();
        guard.check(&state(action), Step::Action { agreed }).unwrap();
        let second = guard.check(&state(body(6, 21)), Step::Action { agreed });
        assert_eq!(second, Err(Refusal::SecondAction { seqno: 6 }));
        let payment = guard.check(&state(body(6, 11)), Step::SettlingIncrement { agreed });
        assert_eq!(payment, Err(Refusal::NotAnIncrement { seqno: 6 }));
        guard.check(&state(body(6, 10)), Step::SettlingIncrement { agreed }).unwrap();
        // In turn, the first again.
        guard.check(&state(action), Step::Action { agreed }).unwrap();
        // Meanwhile proposals of the peer are answered with the agreed body.
        guard.check(&state(agreed), Step::Answer).unwrap();
    }

    #[test]
    fn once_one_is_agreed_the_other_is_void() {
        let agreed = body(5, 10);
        let mut guard = at(agreed);
        let (action, increment) = (body(6, 20), body(6, 10));
        guard.check(&state(action), Step::Action { agreed }).unwrap();
        guard.check(&state(increment), Step::SettlingIncrement { agreed }).unwrap();
        guard.check(&state(body(7, 30)), Step::Action { agreed: increment }).unwrap();
        let refused = Err(Refusal::NotAgreed { seqno: 6, agreed: 6 });
        assert_eq!(guard.check(&state(action), Step::Answer), refused);
        assert_eq!(guard.check(&state(body(7, 30)), Step::Action { agreed: action }), refused);
        assert_eq!(guard.check(&state(agreed), Step::Answer), Err(Refusal::NotAgreed { seqno: 5, agreed: 6 }));
        guard.check(&state(increment), Step::Answer).unwrap();
    }

    #[test]
    fn seqno_gaps_and_falling_sums_are_refused() {
        let agreed = body(5, 10);
        let mut guard = at(agreed);
        for seqno in [0, 4, 5, 7, u64::MAX] {
            let gap = Err(Refusal::SeqnoGap { seqno, agreed: 5 });
            assert_eq!(guard.check(&state(body(seqno, 10)), Step::Action { agreed }), gap);
        }
        let falls = guard.check(&state(body(6, 9)), Step::Action { agreed });
        assert_eq!(falls, Err(Refusal::SentFalls { from: 10, to: 9 }));
        let last = body(u64::MAX, 0);
        assert!(at(last).check(&state(body(0, 0)), Step::Action { agreed: last }).is_err());
    }

    #[test]
    fn an_unknown_channel_starts_at_its_start_value_only() {
        let mut guard = Guard::default();
        assert_eq!(guard.check(&state(body(3, 1)), Step::Answer), Err(Refusal::UnknownChannel));
        let action = Step::Action { agreed: body(3, 1) };
        assert_eq!(guard.check(&state(body(4, 1)), action), Err(Refusal::UnknownChannel));
        guard.check(&state(Body::start(0)), Step::Answer).unwrap();
        guard.check(&state(body(1, 0)), Step::Action { agreed: Body::start(0) }).unwrap();
    }

    #[test]
    fn rows_of_the_database_replace_a_commit_that_failed_but_not_more() {
        let mut guard = at(body(5, 10));
        guard.check(&state(body(6, 20)), Step::Action { agreed: body(5, 10) }).unwrap();
        guard.check(&state(body(7, 20)), Step::Action { agreed: body(6, 20) }).unwrap();
        let stale = guard.restore(vec![SignedBodies::on([1; 16], body(1, 0)), SignedBodies::on(ID, body(4, 0))]);
        assert_eq!(stale, Err(Refusal::StaleRows { rows: 4, signed: 6 }));
        assert!(!guard.channels.contains_key(&[1; 16]));
        guard.restore(vec![SignedBodies { action: Some(body(6, 20)), ..SignedBodies::on(ID, body(5, 10)) }]).unwrap();
        assert!(guard.check(&state(body(6, 30)), Step::Action { agreed: body(5, 10) }).is_err());
    }

    fn any_body() -> impl Strategy<Value = Body> {
        (0u64..6, 0u128..3).prop_map(|(seqno, sent)| body(seqno, sent))
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Answer),
            any_body().prop_map(|agreed| Step::Action { agreed }),
            any_body().prop_map(|agreed| Step::SettlingIncrement { agreed }),
        ]
    }

    proptest! {
        /// Whatever is asked in whatever order: of one seqno at most two bodies get a signature, and of two one is the increment.
        #[test]
        fn at_most_an_action_and_an_increment_per_seqno(requests in prop::collection::vec((any_body(), any_step()), 0..400)) {
            let mut guard = Guard::default();
            let mut actions: HashMap<u64, Body> = HashMap::new();
            let mut signed: HashMap<u64, HashSet<Body>> = HashMap::new();
            for (body, step) in requests {
                if guard.check(&state(body), step).is_err() {
                    continue;
                }
                if matches!(step, Step::Action { .. }) {
                    prop_assert_eq!(*actions.entry(body.seqno).or_insert(body), body);
                }
                let bodies = signed.entry(body.seqno).or_default();
                bodies.insert(body);
                prop_assert!(bodies.len() <= 2, "{:?}", bodies);
            }
        }
    }
}
