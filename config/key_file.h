#pragma once
// The text of key files. An Ed25519 key stands in its file as 64 hexadecimal digits, as 43
// characters of base64url (both are its 32 bytes), or as PEM: the public key as SPKI, the secret as
// PKCS #8 (RFC 8410), as other programs write them. Pure; nothing here is kept or logged.

#include <optional>
#include <string>
#include <string_view>

namespace gpupool {

// The 32 bytes; nothing if the text is none of these forms.
std::optional<std::string> ed25519_public_key_in(std::string_view text);
std::optional<std::string> ed25519_seed(std::string_view text);

// The bytes of base64 in either alphabet (RFC 4648), padded or not; nothing: it is something else.
std::optional<std::string> base64_bytes(std::string_view text);

// 40 characters of Z85: what a ZeroMQ CURVE key looks like.
bool is_z85_key(std::string_view text);

}  // namespace gpupool
