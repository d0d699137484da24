// The main job with the AWS SDK for Rust. Configuration comes from the environment, as
// test_sdk_journeys.py gives it. Exit status 0: all as expected.

use std::collections::{HashMap, HashSet};
use std::{env, fs};

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::decrypt::{DecryptError, DecryptOutput};
use aws_sdk_kms::operation::encrypt::EncryptError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    DataKeySpec, GrantConstraints, GrantOperation, KeySpec, KeyState, KeyUsageType, MacAlgorithmSpec,
    SigningAlgorithmSpec,
};
use aws_sdk_kms::Client;
use aws_smithy_http_client::tls::{rustls_provider::CryptoMode, Provider, TlsContext, TrustStore};
use aws_smithy_http_client::Builder;
use ring::signature::{UnparsedPublicKey, ECDSA_P256_SHA256_ASN1};

type Failure = Box<dyn std::error::Error>;
type Context = HashMap<String, String>;

const MESSAGE: &[u8] = b"what is to be signed";

fn context(pairs: &[(&str, &str)]) -> Context {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn full_context() -> Context {
    context(&[("zeta", "1"), ("alpha", "é"), ("key", "\u{1f511}"), ("aws:s3:arn", "arn:aws:s3:::b/k")])
}

/// What must be refused, as the variant of its own that the SDK has for it.
fn refused<T, E>(result: Result<T, SdkError<E>>, expected: fn(&E) -> bool)
where
    E: std::fmt::Debug,
{
    match result {
        Err(SdkError::ServiceError(error)) => {
            assert_eq!(error.raw().status().as_u16(), 400);
            assert!(expected(error.err()), "another refusal: {:?}", error.err());
        }
        Err(other) => panic!("not an answer of the service: {other:?}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// AWS models no exception of its own for it.
fn is_denied<E: ProvideErrorMetadata>(error: &E) -> bool {
    error.code() == Some("AccessDeniedException")
}

/// The members of a profile of AWS_CONFIG_FILE.
fn profile(name: &str) -> Result<Context, Failure> {
    let text = fs::read_to_string(env::var("AWS_CONFIG_FILE")?)?;
    Ok(text
        .lines()
        .skip_while(|line| *line != format!("[profile {name}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(member, value)| (member.to_string(), value.to_string()))
        .collect())
}

fn profile_credentials(name: &str) -> Result<Credentials, Failure> {
    let mut p = profile(name)?;
    let mut take = |member: &str| p.remove(member);
    let id = take("aws_access_key_id").ok_or("no access key")?;
    let secret = take("aws_secret_access_key").ok_or("no secret")?;
    Ok(Credentials::new(id, secret, take("aws_session_token"), None, "profile"))
}

fn root_credentials() -> Result<Credentials, Failure> {
    let (id, secret) = (env::var("AWS_ACCESS_KEY_ID")?, env::var("AWS_SECRET_ACCESS_KEY")?);
    Ok(Credentials::new(id, secret, None, None, "environment"))
}

fn client(credentials: Credentials) -> Result<Client, Failure> {
    let http = match env::var("AWS_CA_BUNDLE") {
        Ok(file) => {
            let trust = TrustStore::empty().with_pem_certificate(fs::read(file)?);
            Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(TlsContext::builder().with_trust_store(trust).build()?)
                .build_https()
        }
        Err(_) => Builder::new().build_http(),
    };
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(env::var("AWS_REGION")?))
        .endpoint_url(env::var("AWS_ENDPOINT_URL_KMS")?)
        .credentials_provider(credentials)
        .build();
    Ok(Client::from_conf(config))
}

async fn make_key(kms: &Client, spec: KeySpec, usage: KeyUsageType) -> Result<String, Failure> {
    let made = kms.create_key().key_spec(spec).key_usage(usage).description("rust ü").send().await?;
    let metadata = made.key_metadata().ok_or("no metadata")?;
    assert_eq!(metadata.key_state(), Some(&KeyState::Enabled));
    Ok(metadata.key_id().to_string())
}

async fn open(who: &Client, blob: &Blob, with: Context) -> Result<DecryptOutput, SdkError<DecryptError>> {
    who.decrypt().ciphertext_blob(blob.clone()).set_encryption_context(Some(with)).send().await
}

async fn data_keys(kms: &Client, key: &str) -> Result<(), Failure> {
    let alias = format!("alias/rust-{key}");
    kms.create_alias().alias_name(&alias).target_key_id(key).send().await?;
    let described = kms.describe_key().key_id(&alias).send().await?;
    assert_eq!(described.key_metadata().map(|m| m.key_id()), Some(key));

    let made = kms
        .generate_data_key()
        .key_id(&alias)
        .key_spec(DataKeySpec::Aes256)
        .set_encryption_context(Some(full_context()))
        .send()
        .await?;
    let (blob, plain) = (made.ciphertext_blob().ok_or("no blob")?, made.plaintext());
    assert_eq!(plain.map(|p| p.as_ref().len()), Some(32));
    assert_eq!(open(kms, blob, full_context()).await?.plaintext(), plain);
    refused(open(kms, blob, Context::new()).await, DecryptError::is_invalid_ciphertext_exception);

    kms.rotate_key_on_demand().key_id(key).send().await?;
    let rotations = kms.list_key_rotations().key_id(key).send().await?;
    assert_eq!(rotations.rotations().len(), 1);
    assert_eq!(open(kms, blob, full_context()).await?.plaintext(), plain);
    moved(kms, blob, plain).await?;

    kms.delete_alias().alias_name(&alias).send().await?;
    refused(kms.describe_key().key_id(&alias).send().await, |e| e.is_not_found_exception());
    Ok(())
}

async fn moved(kms: &Client, blob: &Blob, plain: Option<&Blob>) -> Result<(), Failure> {
    let to = make_key(kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await?;
    let moved = kms
        .re_encrypt()
        .ciphertext_blob(blob.clone())
        .set_source_encryption_context(Some(full_context()))
        .destination_key_id(&to)
        .destination_encryption_context("n", "2")
        .send()
        .await?;
    let new_blob = moved.ciphertext_blob().ok_or("no blob")?;
    assert_eq!(open(kms, new_blob, context(&[("n", "2")])).await?.plaintext(), plain);
    let foreign = kms.decrypt().ciphertext_blob(blob.clone()).key_id(&to);
    refused(
        foreign.set_encryption_context(Some(full_context())).send().await,
        DecryptError::is_incorrect_key_exception,
    );
    Ok(())
}

async fn signatures(kms: &Client) -> Result<(), Failure> {
    let key = make_key(kms, KeySpec::EccNistP256, KeyUsageType::SignVerify).await?;
    let algorithm = SigningAlgorithmSpec::EcdsaSha256;
    let made =
        kms.sign().key_id(&key).message(Blob::new(MESSAGE)).signing_algorithm(algorithm.clone()).send().await?;
    let signature = made.signature().ok_or("no signature")?;
    let public = kms.get_public_key().key_id(&key).send().await?;
    let der = public.public_key().ok_or("no public key")?.as_ref();
    let point = &der[der.len() - 65..]; // the last member of a SubjectPublicKeyInfo, RFC 5480
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(MESSAGE, signature.as_ref())
        .expect("ring does not verify it");

    let check = kms.verify().key_id(&key).signature(signature.clone()).signing_algorithm(algorithm);
    assert!(check.clone().message(Blob::new(MESSAGE)).send().await?.signature_valid());
    refused(check.message(Blob::new("other")).send().await, |e| e.is_kms_invalid_signature_exception());
    Ok(())
}

async fn macs(kms: &Client) -> Result<(), Failure> {
    let key = make_key(kms, KeySpec::Hmac256, KeyUsageType::GenerateVerifyMac).await?;
    let algorithm = MacAlgorithmSpec::HmacSha256;
    let made =
        kms.generate_mac().key_id(&key).message(Blob::new(MESSAGE)).mac_algorithm(algorithm.clone()).send().await?;
    let check = kms.verify_mac().key_id(&key).mac(made.mac().ok_or("no MAC")?.clone()).mac_algorithm(algorithm);
    assert!(check.clone().message(Blob::new(MESSAGE)).send().await?.mac_valid());
    refused(check.message(Blob::new("other")).send().await, |e| e.is_kms_invalid_mac_exception());
    refused(
        kms.encrypt().key_id(&key).plaintext(Blob::new(MESSAGE)).send().await,
        EncryptError::is_invalid_key_usage_exception,
    );
    Ok(())
}

async fn grants(kms: &Client, key: &str) -> Result<(), Failure> {
    let guest = client(profile_credentials("guest")?)?;
    let sealed = kms
        .encrypt()
        .key_id(key)
        .plaintext(Blob::new(MESSAGE))
        .set_encryption_context(Some(full_context()))
        .send()
        .await?;
    let blob = sealed.ciphertext_blob().ok_or("no blob")?;
    refused(open(&guest, blob, full_context()).await, is_denied);
    let grant = kms
        .create_grant()
        .key_id(key)
        .grantee_principal(env::var("JOURNEY_GUEST_ARN")?)
        .operations(GrantOperation::Decrypt)
        .constraints(GrantConstraints::builder().encryption_context_subset("zeta", "1").build())
        .send()
        .await?;
    let with = guest.decrypt().ciphertext_blob(blob.clone()).set_encryption_context(Some(full_context()));
    let opened = with.clone().grant_tokens(grant.grant_token().ok_or("no token")?).send().await?;
    assert_eq!(opened.plaintext().map(|p| p.as_ref()), Some(MESSAGE));
    refused(
        with.clone().grant_tokens("no token").send().await,
        DecryptError::is_invalid_grant_token_exception,
    );
    kms.revoke_grant().key_id(key).grant_id(grant.grant_id().ok_or("no id")?).send().await?;
    refused(with.send().await, is_denied);
    Ok(())
}

async fn sessions() -> Result<(), Failure> {
    let session = client(profile_credentials("lent")?)?;
    let made = session.generate_random().number_of_bytes(16).send().await?;
    assert_eq!(made.plaintext().map(|p| p.as_ref().len()), Some(16));
    refused(session.create_key().send().await, is_denied);
    Ok(())
}

async fn pages(kms: &Client) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    let mut keys = kms.list_keys().limit(2).into_paginator().items().send();
    while let Some(key) = keys.next().await {
        assert!(seen.insert(key?.key_id().ok_or("no id")?.to_string()), "a key came twice");
    }
    assert!(seen.len() >= 4, "{} keys", seen.len());
    Ok(())
}

async fn states(kms: &Client, key: &str) -> Result<(), Failure> {
    let encrypt = kms.encrypt().key_id(key).plaintext(Blob::new(MESSAGE));
    kms.disable_key().key_id(key).send().await?;
    refused(encrypt.clone().send().await, EncryptError::is_disabled_exception);
    kms.enable_key().key_id(key).send().await?;
    kms.schedule_key_deletion().key_id(key).pending_window_in_days(7).send().await?;
    refused(encrypt.send().await, EncryptError::is_kms_invalid_state_exception);
    Ok(())
}

async fn journey() -> Result<(), Failure> {
    let kms = client(root_credentials()?)?;
    let key = make_key(&kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await?;
    data_keys(&kms, &key).await?;
    signatures(&kms).await?;
    macs(&kms).await?;
    grants(&kms, &key).await?;
    sessions().await?;
    pages(&kms).await?;
    states(&kms, &key).await
}

fn main() -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(journey())?;
    println!("AWS SDK for Rust, kms {}: ok", aws_sdk_kms::meta::PKG_VERSION);
    Ok(())
}
