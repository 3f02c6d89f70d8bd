#include "net/client.h"

#include <sodium.h>

#include <array>
#include <utility>

#include "config/limits.h"
#include "net/conversation.h"

namespace gpupool {
namespace {

std::string sha256_of(const std::string& bytes) {
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256(hash.data(), reinterpret_cast<const unsigned char*>(bytes.data()),
                     bytes.size());
  std::array<char, 2 * crypto_hash_sha256_BYTES + 1> text{};
  sodium_bin2hex(text.data(), text.size(), hash.data(), hash.size());
  return text.data();
}

template <class Answer>
Result<Answer> expect(Result<ToClient> answer) {
  if (!answer) return answer.error();
  if (Answer* found = std::get_if<Answer>(&*answer)) return std::move(*found);
  return Error{.code = Errc::malformed_frame, .detail = "the pool answered another question"};
}

// Gives the question a number of its own, asks it and waits for an answer of type Answer.
template <class Answer, class Message>
Result<Answer> ask(Conversation& conversation, Message message) {
  message.query = conversation.next_query();
  Result<std::string> frame = encode(FromClient{message});
  if (!frame) return frame.error();
  return expect<Answer>(conversation.ask({.query = message.query, .frames = {std::move(*frame)}}));
}

}  // namespace

Result<std::unique_ptr<Client>> Client::connect(ClientOptions options) {
  auto conversation = std::make_unique<Conversation>(std::move(options));
  if (Status begun = conversation->begin(); !begun) return begun.error();
  return std::unique_ptr<Client>{new Client{std::move(conversation)}};
}

Client::Client(std::unique_ptr<Conversation> conversation)
    : conversation_(std::move(conversation)) {}

Client::~Client() { conversation_->say_goodbye(); }

const SessionWelcome& Client::welcome() const { return conversation_->welcome(); }

Status Client::submit(const RequestId& request, const JobRequest& body) {
  const std::uint64_t query = conversation_->next_query();
  Result<std::string> frame =
      encode(FromClient{ClientSubmit{.query = query, .request = request, .body = body}});
  if (!frame) return frame.error();
  return conversation_->follow({.query = query, .request = request, .frame = std::move(*frame)});
}

Status Client::watch(JobId job) {
  const std::uint64_t query = conversation_->next_query();
  Result<std::string> frame = encode(FromClient{ClientWatch{.query = query, .job = job}});
  if (!frame) return frame.error();
  return conversation_->follow({.query = query, .job = job, .frame = std::move(*frame)});
}

Result<ClientEvent> Client::next_event(Duration timeout) {
  return conversation_->next_event(timeout);
}

Result<JobDone> Client::cancel(JobId job) {
  Question question{.query = conversation_->next_query(), .job = job};
  std::vector<FromClient> messages{ClientCancel{.query = question.query, .job = job}};
  // The watch makes the pool send the receipt also to a client that did not follow the job.
  if (!conversation_->follows(job))
    messages.insert(messages.begin(),
                    ClientWatch{.query = conversation_->next_query(), .job = job});
  for (const FromClient& message : messages) {
    Result<std::string> frame = encode(message);
    if (!frame) return frame.error();
    question.frames.push_back(std::move(*frame));
  }
  return expect<JobDone>(conversation_->ask(std::move(question)));
}

Result<QuotaAnswer> Client::quota() { return ask<QuotaAnswer>(*conversation_, ClientQuota{}); }

Result<ReceiptsAnswer> Client::receipts(JobId before, std::uint32_t limit) {
  return ask<ReceiptsAnswer>(*conversation_, ClientReceipts{.before = before, .limit = limit});
}

Result<JobsAnswer> Client::jobs() { return ask<JobsAnswer>(*conversation_, ClientJobs{}); }

Result<ExplainAnswer> Client::explain(JobId job) {
  return ask<ExplainAnswer>(*conversation_, ClientExplain{.job = job});
}

Result<ExplainAnswer> Client::explain(const RequestId& refused) {
  return ask<ExplainAnswer>(*conversation_, ClientExplain{.request = refused});
}

Result<std::string> Client::fetch(const Receipt& receipt) {
  const ResultRef& wanted = receipt.result;
  if (wanted.hash.empty())
    return Error{.code = Errc::result_gone, .detail = "the job has no result"};
  const Error damaged{.code = Errc::file_malformed,
                      .want = wanted.bytes,
                      .detail = "the result that the pool sent is not the one of the receipt"};
  if (wanted.bytes < 0 || wanted.bytes > limits::result_bytes_max) return damaged;
  std::string result;
  while (std::cmp_less(result.size(), wanted.bytes)) {
    const auto offset = static_cast<std::int64_t>(result.size());
    const Result<ResultChunk> chunk =
        ask<ResultChunk>(*conversation_, ClientFetch{.job = receipt.job, .offset = offset});
    if (!chunk) return chunk.error();
    if (chunk->error != Errc{}) return Error{.code = chunk->error};
    const bool fits = chunk->job == receipt.job && chunk->offset == offset &&
                      chunk->total == wanted.bytes && !chunk->bytes.empty() &&
                      std::cmp_less_equal(chunk->bytes.size(), wanted.bytes - offset);
    if (!fits) return damaged;
    result += chunk->bytes;
  }
  if (sha256_of(result) != wanted.hash) return damaged;
  return result;
}

void Client::interrupt() noexcept { conversation_->interrupt(); }

}  // namespace gpupool
