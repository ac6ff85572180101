//! What the local signer signs verifies with the public keys, and nothing else gets a signature.

use contract::{CloseToSign, InitToSign, Pair, StartToSign, ToSign};
use ed25519_dalek::{SigningKey, VerifyingKey};
use signer::{ContractMessage, Error, KeySource, Keys, LocalSigner, NodeRecord, Refusal, SecretUse, SignedBodies, Signer, Step};
use wire::{Body, Resolution, SignedState, State, authenticate, crypt, resolution};

fn local() -> LocalSigner {
    let folder = tempfile::tempdir().unwrap();
    let source = KeySource::KeyFile(folder.path().join("key"));
    LocalSigner::new(Keys::open_or_create(&folder.path().join("keystore"), &source).unwrap())
}

fn state(body: Body, counterparty: Body) -> State {
    State { channel_id: [9; 16], body, counterparty: Some(counterparty) }
}

#[tokio::test]
async fn states_are_signed_and_guarded() {
    let signer = local();
    let key = VerifyingKey::from_bytes(&signer.channel_key()).unwrap();
    let agreed = Body { seqno: 3, sent: 100, conditionals: [0; 32] };
    signer.restore(vec![SignedBodies::on([9; 16], agreed)]).await.unwrap();
    let action = state(Body { seqno: 4, sent: 150, ..agreed }, Body::start(7));
    let signature = signer.sign_state(&action, Step::Action { agreed }).await.unwrap();
    assert!(SignedState { signature, state: action }.verify(&key));
    // The same body with a newer copy of the counterparty is another signature, and always allowed.
    let newer = state(action.body, Body::start(8));
    assert_ne!(signer.sign_state(&newer, Step::Action { agreed }).await.unwrap(), signature);

    let other = state(Body { sent: 151, ..action.body }, Body::start(7));
    let refused = signer.sign_state(&other, Step::Action { agreed }).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::SecondAction { seqno: 4 }))));
    let huge = state(Body { sent: u128::MAX, ..action.body }, Body::start(7));
    assert!(matches!(signer.sign_state(&huge, Step::Answer).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn messages_and_sessions_verify() {
    let signer = local();
    let key = signer.channel_key();
    let init = InitToSign { channel_id: [1; 16] };
    let signature = signer.sign_contract(&ContractMessage::Init(init.clone())).await.unwrap();
    assert!(init.verify(&key, &signature));
    let close = CloseToSign { channel_id: [1; 16], sent: Pair { a: 5, b: 6 }, seqnos: Pair { a: 1, b: 2 } };
    assert!(!close.verify(&key, &signature));
    let signature = signer.sign_contract(&ContractMessage::Close(close.clone())).await.unwrap();
    assert!(close.verify(&key, &signature));
    let huge = CloseToSign { sent: Pair { a: 1 << 120, b: 0 }, ..close };
    assert!(matches!(signer.sign_contract(&ContractMessage::Close(huge)).await, Err(Error::Invalid(_))));
    let body = Body { seqno: 1, sent: 1 << 120, conditionals: [0; 32] };
    let signed = SignedState { signature: [0; 64], state: state(Body::start(0), body) };
    let start = StartToSign { channel_id: [9; 16], states: Pair { a: signed, b: signed } };
    assert!(matches!(signer.sign_contract(&ContractMessage::Start(start)).await, Err(Error::Invalid(_))));

    let signature = signer.sign_authenticate(&[1; 32], &[2; 32], 50).await.unwrap();
    assert!(authenticate::verify(&key, &[1; 32], &[2; 32], 50, &signature));
    let record = NodeRecord { adnl_id: [3; 32], expires_at: 100 };
    let later = NodeRecord { expires_at: 101, ..record };
    let (first, second) = (signer.sign_node_record(&record).await.unwrap(), signer.sign_node_record(&later).await.unwrap());
    assert_eq!(first.description, second.description);
    assert_ne!(first.value, second.value);
}

#[tokio::test]
async fn wallet_orders_are_signed_with_the_wallet_key() {
    let signer = local();
    assert_ne!(signer.wallet_key(), signer.channel_key());
    let wallet_id = wallet::wallet_id(-3);
    let wallet = wallet::Wallet::new(&signer.wallet_key(), wallet_id).unwrap();
    let transfer = wallet::Transfer::new(wallet.address().clone(), 1_000);
    let order = wallet::Order { seqno: 1, valid_until: 100, transfers: vec![transfer] };
    let signature = signer.sign_wallet_order(wallet_id, &order).await.unwrap();
    let key = VerifyingKey::from_bytes(&signer.wallet_key()).unwrap();
    let hash = order.signing_hash(&wallet).unwrap();
    key.verify_strict(&hash, &ed25519_dalek::Signature::from_bytes(&signature)).unwrap();
    let empty = wallet::Order { transfers: Vec::new(), ..order };
    assert!(matches!(signer.sign_wallet_order(wallet_id, &empty).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn secrets_are_shared_with_the_other_key() {
    let signer = local();
    let virtual_key = SigningKey::from_bytes(&[5; 32]);
    let public = virtual_key.verifying_key().to_bytes();
    let secret = crypt::shared_secret(&virtual_key, &signer.channel_key()).unwrap();
    let sealed = resolution::seal_state(&public, &Resolution::sign(&virtual_key, 77), &secret);

    let ours = signer.shared_secret(SecretUse::EncryptedState, &public).await.unwrap();
    assert_eq!(resolution::open_state(&sealed, &ours).unwrap().1.amount, 77);
    let weak = signer.shared_secret(SecretUse::OwnInstruction, &[0; 32]).await;
    assert!(matches!(weak, Err(Error::WeakKey)));

    let sealing = signer.sealing_key().await.unwrap();
    let kept = sealing.seal(&public, virtual_key.as_bytes(), &[6; 32]).unwrap();
    let (seed, receiver) = signer.sealing_key().await.unwrap().open(&public, &kept).unwrap();
    assert_eq!((*seed, receiver), ([5; 32], [6; 32]));
    assert!(local().sealing_key().await.unwrap().open(&public, &kept).is_err());
}
