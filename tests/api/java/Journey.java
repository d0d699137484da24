// The main job with the AWS SDK for Java v2. Configuration comes from the environment, as
// test_sdk_journeys.py gives it; a CA of one's own comes by javax.net.ssl.trustStore.
// Exit status 0: all as expected.

import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.auth.credentials.ProfileCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.services.kms.KmsClient;
import software.amazon.awssdk.services.kms.model.*;

public final class Journey {
  private static final Map<String, String> CONTEXT = new LinkedHashMap<>();
  private static final SdkBytes MESSAGE = bytes("what is to be signed");

  static {
    CONTEXT.put("zeta", "1");
    CONTEXT.put("alpha", "é");
    CONTEXT.put("key", "\uD83D\uDD11");
    CONTEXT.put("aws:s3:arn", "arn:aws:s3:::b/k");
  }

  private final KmsClient kms = client(DefaultCredentialsProvider.builder().build());
  private final KmsClient guest = client(ProfileCredentialsProvider.create("guest"));
  private final KmsClient session = client(ProfileCredentialsProvider.create("session"));

  /** Region and endpoint are found by the SDK itself: AWS_REGION, AWS_ENDPOINT_URL_KMS. */
  private static KmsClient client(AwsCredentialsProvider who) {
    return KmsClient.builder().credentialsProvider(who).build();
  }

  private static SdkBytes bytes(String text) {
    return SdkBytes.fromUtf8String(text);
  }

  private static void check(boolean good, String what) {
    if (!good) throw new AssertionError(what);
  }

  /** What must be refused, by this class of the SDK; a class that AWS models has its own. */
  private static KmsException refused(Class<? extends KmsException> expected, Runnable call) {
    try {
      call.run();
    } catch (KmsException e) {
      check(e.getClass() == expected, expected.getSimpleName() + " expected, not " + e);
      check(e.statusCode() == 400, "status " + e.statusCode());
      check(e.requestId() != null && e.requestId().length() == 36, "request id " + e.requestId());
      return e;
    }
    throw new AssertionError(expected.getSimpleName() + " did not come");
  }

  private static void denied(Runnable call) {
    final KmsException e = refused(KmsException.class, call);
    check(e.awsErrorDetails().errorCode().equals("AccessDeniedException"), "denied by " + e);
  }

  private String key(KeySpec spec, KeyUsageType usage) {
    final KeyMetadata made = kms.createKey(r -> r.keySpec(spec).keyUsage(usage).description("java ü"))
        .keyMetadata();
    check(made.keyState() == KeyState.ENABLED, "a new key is not enabled");
    check(made.keySpec() == spec && made.keyUsage() == usage, "another kind of key");
    return made.keyId();
  }

  private byte[] open(KmsClient who, SdkBytes blob, Map<String, String> context, String... tokens) {
    return who.decrypt(r -> r.ciphertextBlob(blob).encryptionContext(context).grantTokens(tokens))
        .plaintext().asByteArray();
  }

  private void dataKeys(String key) {
    final String alias = "alias/java-" + key;
    kms.createAlias(r -> r.aliasName(alias).targetKeyId(key));
    check(kms.describeKey(r -> r.keyId(alias)).keyMetadata().keyId().equals(key), "the alias strays");

    final GenerateDataKeyResponse made = kms.generateDataKey(
        r -> r.keyId(alias).keySpec(DataKeySpec.AES_256).encryptionContext(CONTEXT));
    final byte[] plain = made.plaintext().asByteArray();
    check(plain.length == 32, "a data key has another length");
    check(Arrays.equals(open(kms, made.ciphertextBlob(), CONTEXT), plain), "another data key");
    refused(InvalidCiphertextException.class, () -> open(kms, made.ciphertextBlob(), Map.of()));
    refused(InvalidCiphertextException.class,
        () -> open(kms, made.ciphertextBlob(), Map.of("zeta", "2")));

    kms.rotateKeyOnDemand(r -> r.keyId(key));
    check(kms.listKeyRotationsPaginator(r -> r.keyId(key)).rotations().stream().count() == 1, "rotations");
    check(Arrays.equals(open(kms, made.ciphertextBlob(), CONTEXT), plain),
        "another data key after the rotation");
    moved(key, made.ciphertextBlob(), plain);
    kms.deleteAlias(r -> r.aliasName(alias));
    refused(NotFoundException.class, () -> kms.describeKey(r -> r.keyId(alias)));
  }

  private void moved(String from, SdkBytes blob, byte[] plain) {
    final String to = key(KeySpec.SYMMETRIC_DEFAULT, KeyUsageType.ENCRYPT_DECRYPT);
    final ReEncryptResponse moved = kms.reEncrypt(r -> r.ciphertextBlob(blob)
        .sourceEncryptionContext(CONTEXT).destinationKeyId(to).destinationEncryptionContext(Map.of("n", "2")));
    check(moved.sourceKeyId().endsWith(from) && moved.keyId().endsWith(to), "keys of the move");
    check(Arrays.equals(open(kms, moved.ciphertextBlob(), Map.of("n", "2")), plain), "moved");
    refused(IncorrectKeyException.class,
        () -> kms.decrypt(r -> r.ciphertextBlob(blob).encryptionContext(CONTEXT).keyId(to)));
  }

  private void signatures(KeySpec spec, SigningAlgorithmSpec algorithm, String family, String scheme)
      throws Exception {
    final String key = key(spec, KeyUsageType.SIGN_VERIFY);
    final SdkBytes signature = kms.sign(
        r -> r.keyId(key).message(MESSAGE).signingAlgorithm(algorithm)).signature();
    final byte[] der = kms.getPublicKey(r -> r.keyId(key)).publicKey().asByteArray();
    final PublicKey known = KeyFactory.getInstance(family).generatePublic(new X509EncodedKeySpec(der));
    final Signature own = Signature.getInstance(scheme);
    own.initVerify(known);
    own.update(MESSAGE.asByteArray());
    check(own.verify(signature.asByteArray()), "Java does not verify " + algorithm);
    check(kms.verify(r -> r.keyId(key).message(MESSAGE).signature(signature).signingAlgorithm(algorithm))
        .signatureValid(), "the service does not verify " + algorithm);
    refused(KmsInvalidSignatureException.class, () -> kms.verify(
        r -> r.keyId(key).message(bytes("other")).signature(signature).signingAlgorithm(algorithm)));
  }

  private void macs() {
    final String key = key(KeySpec.HMAC_256, KeyUsageType.GENERATE_VERIFY_MAC);
    final MacAlgorithmSpec algorithm = MacAlgorithmSpec.HMAC_SHA_256;
    final SdkBytes mac = kms.generateMac(r -> r.keyId(key).message(MESSAGE).macAlgorithm(algorithm)).mac();
    check(mac.asByteArray().length == 32, "a MAC has another length");
    check(kms.verifyMac(r -> r.keyId(key).message(MESSAGE).mac(mac).macAlgorithm(algorithm)).macValid(),
        "a MAC is not valid");
    refused(KmsInvalidMacException.class,
        () -> kms.verifyMac(r -> r.keyId(key).message(bytes("x")).mac(mac).macAlgorithm(algorithm)));
    refused(InvalidKeyUsageException.class, () -> kms.encrypt(r -> r.keyId(key).plaintext(MESSAGE)));
  }

  private void grants(String key) {
    final SdkBytes blob = kms.encrypt(
        r -> r.keyId(key).plaintext(MESSAGE).encryptionContext(CONTEXT)).ciphertextBlob();
    denied(() -> open(guest, blob, CONTEXT));
    final CreateGrantResponse grant = kms.createGrant(r -> r.keyId(key)
        .granteePrincipal(System.getenv("JOURNEY_GUEST_ARN")).operations(GrantOperation.DECRYPT)
        .constraints(c -> c.encryptionContextSubset(Map.of("zeta", "1"))));
    check(Arrays.equals(open(guest, blob, CONTEXT, grant.grantToken()), MESSAGE.asByteArray()),
        "a grant does not open");
    denied(() -> guest.encrypt(r -> r.keyId(key).plaintext(MESSAGE).grantTokens(grant.grantToken())));
    refused(InvalidGrantTokenException.class, () -> open(guest, blob, CONTEXT, "no token"));
    kms.revokeGrant(r -> r.keyId(key).grantId(grant.grantId()));
    denied(() -> open(guest, blob, CONTEXT));
  }

  private void states(String key) {
    kms.disableKey(r -> r.keyId(key));
    refused(DisabledException.class, () -> kms.encrypt(r -> r.keyId(key).plaintext(MESSAGE)));
    kms.enableKey(r -> r.keyId(key));
    kms.scheduleKeyDeletion(r -> r.keyId(key).pendingWindowInDays(7));
    refused(KmsInvalidStateException.class, () -> kms.encrypt(r -> r.keyId(key).plaintext(MESSAGE)));
  }

  private void sessions() {
    check(session.generateRandom(r -> r.numberOfBytes(16)).plaintext().asByteArray().length == 16, "random");
    denied(() -> session.createKey(r -> r.description("not mine to make")));
  }

  private void pages() {
    final Set<String> seen = new HashSet<>();
    kms.listKeysPaginator(r -> r.limit(2)).keys()
        .forEach(k -> check(seen.add(k.keyId()), "a key came twice"));
    check(seen.size() >= 5, seen.size() + " keys");
  }

  public static void main(String[] arguments) throws Exception {
    final Journey journey = new Journey();
    final String key = journey.key(KeySpec.SYMMETRIC_DEFAULT, KeyUsageType.ENCRYPT_DECRYPT);
    journey.dataKeys(key);
    journey.signatures(KeySpec.ECC_NIST_P256, SigningAlgorithmSpec.ECDSA_SHA_256, "EC", "SHA256withECDSA");
    journey.signatures(KeySpec.RSA_2048, SigningAlgorithmSpec.RSASSA_PKCS1_V1_5_SHA_256, "RSA",
        "SHA256withRSA");
    journey.macs();
    journey.grants(key);
    journey.sessions();
    journey.pages();
    journey.states(key);
    System.out.println("AWS SDK for Java " + VersionInfo.SDK_VERSION + ": ok");
  }
}
