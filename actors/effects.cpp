#include "actors/effects.h"

namespace gpupool {

Send::Send(Address address, Message&& what) : to(address), message(std::move(what)) {}
Send::Send(const Send& other) = default;
Send::Send(Send&& other) noexcept = default;
Send& Send::operator=(const Send& other) = default;
Send& Send::operator=(Send&& other) noexcept = default;
Send::~Send() = default;

Effects::Effects() = default;
Effects::Effects(const Effects& other) = default;
Effects::Effects(Effects&& other) noexcept = default;
Effects& Effects::operator=(const Effects& other) = default;
Effects& Effects::operator=(Effects&& other) noexcept = default;
Effects::~Effects() = default;

void Effects::to(Address address, ToBroker&& message) {
  send.emplace_back(address, std::move(message));
}
void Effects::to(Address address, ToLedger&& message) {
  send.emplace_back(address, std::move(message));
}
void Effects::to(Address address, ToWorker&& message) {
  send.emplace_back(address, std::move(message));
}
void Effects::to(Address address, ToSession&& message) {
  send.emplace_back(address, std::move(message));
}
void Effects::to(Address address, ToClient&& message) {
  send.emplace_back(address, std::move(message));
}
void Effects::to(Address address, ToExecutors&& message) {
  send.emplace_back(address, std::move(message));
}
void Effects::to(Address address, ToConsole&& message) {
  send.emplace_back(address, std::move(message));
}
void Effects::to(Address address, ToGateway&& message) {
  send.emplace_back(address, std::move(message));
}
void Effects::to(Address address, ToHistory&& message) {
  send.emplace_back(address, std::move(message));
}

}  // namespace gpupool
