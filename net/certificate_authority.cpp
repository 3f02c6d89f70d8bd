#include "net/certificate_authority.h"

#include <openssl/rand.h>

#include <algorithm>

#include "net/certificate.h"
#include "net/certificate_handles.h"

namespace gpupool {
namespace {

// A machine whose clock is a little behind takes a certificate that was made just now.
constexpr Duration clock_slack = hours(1);

Error failed(const std::string& what) {
  return {.code = Errc::unsupported,
          .detail = "this machine's OpenSSL cannot " + what + ": " + openssl_reason()};
}

Status set_serial(X509* certificate) {
  // 16 bytes, the first below 128 and never 0: positive, unique, of a fixed length.
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
    return failed("draw a serial number");
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x3fU) | 0x40U);
  BIGNUM* number = BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr);
  const bool set = BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return set ? ok() : Status{failed("write a serial number")};
}

void add_part(X509_NAME* name, const char* field, const std::string& text) {
  X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(text.data()),
                             static_cast<int>(text.size()), -1, 0);
}

struct Extension {
  int number;
  std::string text;
};

Status add_extensions(X509* certificate, X509* issuer, const std::vector<Extension>& all) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  for (const Extension& one : all) {
    X509_EXTENSION* made = X509V3_EXT_conf_nid(nullptr, &context, one.number, one.text.c_str());
    if (made == nullptr) return failed("write the extension " + one.text);
    X509_add_ext(certificate, made, -1);
    X509_EXTENSION_free(made);
  }
  return ok();
}

struct Draft {
  std::string name;
  Instant from{};
  Instant until{};
  std::vector<Extension> extensions;
};

// Everything but the names of the issuer, its signature and what it says of its key.
Result<Certificate> draft_of(const Draft& draft, const SecretKey& key) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  if (const Status set = set_serial(certificate.get()); !set) return set.error();
  ASN1_TIME_set(X509_getm_notBefore(certificate.get()), static_cast<time_t>(draft.from.ms / 1000));
  ASN1_TIME_set(X509_getm_notAfter(certificate.get()), static_cast<time_t>(draft.until.ms / 1000));
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  add_part(subject, "O", "gpupool");
  add_part(subject, "CN", draft.name);
  X509_set_pubkey(certificate.get(), key.get());
  return certificate;
}

Result<CertifiedKey> signed_by(X509* issuer, const SecretKey& issuer_key, const Draft& draft,
                               const Certificate& certificate, const SecretKey& key) {
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer));
  if (const Status added = add_extensions(certificate.get(), issuer, draft.extensions); !added)
    return added.error();
  // Ed25519 has its own digest.
  const bool own_digest = EVP_PKEY_get_id(issuer_key.get()) == EVP_PKEY_ED25519;
  if (X509_sign(certificate.get(), issuer_key.get(), own_digest ? nullptr : EVP_sha256()) == 0)
    return failed("sign a certificate");
  const Bio text(BIO_new(BIO_s_mem()));
  const Bio secret(BIO_new(BIO_s_secmem()));
  if (PEM_write_bio_X509(text.get(), certificate.get()) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                    nullptr) != 1)
    return failed("write PEM");
  return CertifiedKey{.certificate = written_to(text), .key = written_to(secret)};
}

SecretKey new_key() { return SecretKey(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")); }

// What X509V3_EXT_conf_nid() reads as a list must hold nothing that it would read as more of it.
Result<std::string> names_text(const NodeWish& wish) {
  std::string text = "DNS:" + wish.name;
  for (const std::string& address : wish.addresses) {
    ASN1_OCTET_STRING* number = a2i_IPADDRESS(address.c_str());
    const bool is_number = number != nullptr;
    ASN1_OCTET_STRING_free(number);
    const bool is_plain = !address.empty() && address.size() <= 253 &&
                          std::all_of(address.begin(), address.end(), [](char c) {
                            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                   (c >= '0' && c <= '9') || c == '-' || c == '.';
                          });
    if (!is_number && !is_plain)
      return Error{.code = Errc::bad_request,
                   .detail = "\"" + address + "\" is neither a host's name nor an IP address"};
    text += (is_number ? ",IP:" : ",DNS:") + address;
  }
  ERR_clear_error();
  return text;
}

}  // namespace

Result<CertifiedKey> make_authority(const AuthorityWish& wish) {
  const SecretKey key = new_key();
  if (!key) return failed("make an Ed25519 key");
  const Draft draft{.name = wish.pool + " authority",
                    .from = wish.now - clock_slack,
                    .until = wish.now + hours(24 * wish.days),
                    .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                   {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                   {NID_subject_key_identifier, "hash"}}};
  const auto certificate = draft_of(draft, key);
  if (!certificate) return certificate.error();
  return signed_by(certificate->get(), key, draft, *certificate, key);
}

Result<CertifiedKey> make_node(const NodeWish& wish, const CertifiedKey& authority) {
  const Certificates issuers = read_certificates(authority.certificate);
  X509* issuer = sk_X509_value(issuers.get(), 0);
  const SecretKey issuer_key = read_secret_key(authority.key);
  if (issuer == nullptr || !issuer_key || X509_check_ca(issuer) == 0 ||
      X509_check_private_key(issuer, issuer_key.get()) != 1) {
    ERR_clear_error();
    return Error{.code = Errc::file_malformed,
                 .detail = "these are not an authority's certificate and its key"};
  }
  const auto facts = read_certificate(authority.certificate);
  if (!facts) return facts.error();
  const auto names = names_text(wish);
  if (!names) return names.error();
  const SecretKey key = new_key();
  if (!key) return failed("make an Ed25519 key");
  const Draft draft{.name = wish.name,
                    .from = std::max(wish.now - clock_slack, facts->valid_from),
                    .until = std::min(wish.now + hours(24 * wish.days), facts->valid_until),
                    .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                                   {NID_key_usage, "critical,digitalSignature"},
                                   {NID_ext_key_usage, "serverAuth,clientAuth"},
                                   {NID_subject_alt_name, *names},
                                   {NID_subject_key_identifier, "hash"},
                                   {NID_authority_key_identifier, "keyid"}}};
  const auto certificate = draft_of(draft, key);
  if (!certificate) return certificate.error();
  return signed_by(issuer, issuer_key, draft, *certificate, key);
}

}  // namespace gpupool
