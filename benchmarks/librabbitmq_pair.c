/* What RabbitMQ carries for a pair of C programs: `librabbitmq_pair publish QUEUE SECONDS` and `librabbitmq_pair consume QUEUE`, at once.
 *
 * The address is in AMQP_URL, which unlike a command line others cannot see. The publisher keeps up to WINDOW persistent messages
 * unconfirmed, then sends one that says END and waits for all confirms; the consumer takes until it has seen that one, PREFETCH at a
 * time, and acks every EVERY messages. Neither keeps identities nor a ledger. Each ends with one line: how many messages, and the
 * monotonic time in ns of the first send and the end of sending, or of the first and the last receipt.
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHANNEL = 1, WINDOW = 1000, PREFETCH = 1000, EVERY = 200, BYTES = 256, RING = 1 << 16 };
static const char END[] = "END";

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static void check(amqp_connection_state_t connection, const char *what) {
  amqp_rpc_reply_t reply = amqp_get_rpc_reply(connection);
  if (reply.reply_type != AMQP_RESPONSE_NORMAL)
    die("%s failed: %s", what,
        reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION ? amqp_error_string2(reply.library_error) : "by the server");
}

static amqp_connection_state_t connected(void) {
  struct amqp_connection_info to;
  const char *url = getenv("AMQP_URL");
  char *parts = url ? strdup(url) : NULL;
  if (!parts || amqp_parse_url(parts, &to) != AMQP_STATUS_OK) die("AMQP_URL is no address");
  amqp_connection_state_t connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  if (!socket || amqp_socket_open(socket, to.host, to.port)) die("cannot connect to %s:%d", to.host, to.port);
  amqp_rpc_reply_t login =
      amqp_login(connection, to.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, to.user, to.password);
  if (login.reply_type != AMQP_RESPONSE_NORMAL) die("login refused");
  amqp_channel_open(connection, CHANNEL);
  check(connection, "channel.open");
  free(parts);
  return connection;
}

/* Confirms come one by one or up to a tag, in any order: each tag is counted once. */
static uint64_t published, confirmed, settled_up_to;
static unsigned char settled[RING];

static void confirm(uint64_t tag, int multiple) {
  if (!multiple) {
    if (!settled[tag % RING]) confirmed++;
    settled[tag % RING] = 1;
    return;
  }
  while (settled_up_to < tag) {
    settled_up_to++;
    if (!settled[settled_up_to % RING]) confirmed++;
    settled[settled_up_to % RING] = 1;
  }
}

static void publish_one(amqp_connection_state_t connection, const char *queue, amqp_bytes_t body) {
  amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
  published++;
  settled[published % RING] = 0;
  int status = amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(queue), 1, 0, &properties, body);
  if (status) die("basic.publish: %s", amqp_error_string2(status));
}

/* Waits for one confirm at least, then takes those that have come with it. */
static void take_confirms(amqp_connection_state_t connection) {
  do {
    amqp_frame_t frame;
    int status = amqp_simple_wait_frame(connection, &frame);
    if (status) die("waiting for confirms: %s", amqp_error_string2(status));
    if (frame.frame_type != AMQP_FRAME_METHOD) die("a frame that is no confirm");
    if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD) die("not confirmed: %s", amqp_method_name(frame.payload.method.id));
    amqp_basic_ack_t *ack = frame.payload.method.decoded;
    confirm(ack->delivery_tag, ack->multiple);
    amqp_maybe_release_buffers(connection);
  } while (amqp_frames_enqueued(connection) || amqp_data_in_buffer(connection));
}

static void publish(const char *queue, double seconds) {
  amqp_connection_state_t connection = connected();
  amqp_confirm_select(connection, CHANNEL);
  check(connection, "confirm.select");
  char payload[BYTES];
  memset(payload, 'x', sizeof payload);
  amqp_bytes_t body = {.len = sizeof payload, .bytes = payload};
  int64_t first_ns = now_ns(), end_ns = first_ns + (int64_t)(seconds * 1e9);
  while (now_ns() < end_ns) {
    while (published - confirmed < WINDOW) publish_one(connection, queue, body);
    take_confirms(connection);
  }
  int64_t sent_ns = now_ns();
  uint64_t count = published;
  publish_one(connection, queue, amqp_cstring_bytes(END));
  while (confirmed < published) take_confirms(connection);
  printf("%llu %lld %lld\n", (unsigned long long)count, (long long)first_ns, (long long)sent_ns);
}

static void consume(const char *queue) {
  amqp_connection_state_t connection = connected();
  amqp_basic_qos(connection, CHANNEL, 0, PREFETCH, 0);
  check(connection, "basic.qos");
  amqp_basic_consume(connection, CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
  check(connection, "basic.consume");
  int64_t first_ns = 0, last_ns = 0;
  unsigned long long count = 0;
  for (int ended = 0; !ended;) {
    amqp_envelope_t envelope;
    amqp_maybe_release_buffers(connection);
    amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, NULL, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) die("consuming ended: %s", amqp_error_string2(reply.library_error));
    ended = envelope.message.body.len == sizeof END - 1;
    if (!ended) {
      last_ns = now_ns();
      if (!count++) first_ns = last_ns;
    }
    if (ended || count % EVERY == 0) {
      int status = amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, 1);
      if (status) die("basic.ack: %s", amqp_error_string2(status));
    }
    amqp_destroy_envelope(&envelope);
  }
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS); /* so that the last ack is taken before we are gone */
  printf("%llu %lld %lld\n", count, (long long)first_ns, (long long)last_ns);
}

int main(int count, char **words) {
  if (count == 4 && !strcmp(words[1], "publish"))
    publish(words[2], atof(words[3]));
  else if (count == 3 && !strcmp(words[1], "consume"))
    consume(words[2]);
  else
    die("usage: %s publish QUEUE SECONDS | consume QUEUE", words[0]);
  return 0;
}
