package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.IrqSet;
import reactor.core.publisher.Flux;
import reactor.core.scheduler.Schedulers;

/** Clients that mean harm or are broken: each is answered or closed, and a good one does not notice. */
class HostileClientsTest {
  private static final Duration LIMIT = Duration.ofSeconds(60);
  private static final Duration IDLE = Duration.ofSeconds(2);
  private static final String TOKEN = "the token of the hostile";
  private static final String GOOD = "the token of the good one";

  /** How many connections are made, some at a time: -Dbridge.connections=10000 is the long form. */
  private static final int CONNECTIONS = Integer.getInteger("bridge.connections", 1_000);

  private static final int AT_A_TIME = 100;

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .name("nic")
      .memoryBar(0, 4096)
      .msix(4)
      .build();
  private VfioDevice owned;
  private VfioBridge bridge;

  @BeforeEach
  void open() {
    owned = Vfio.open(hardware).block(LIMIT);
    owned.config().enableBusMaster().then(owned.interrupts().msix().enable(2)).block(LIMIT);
    bridge = VfioBridge.builder()
        .export(owned, Permission.values())
        .token(TOKEN, Permission.values())
        .token(GOOD, Permission.READ_CONFIG)
        .limits(BridgeLimits.defaults()
            .withConnections(AT_A_TIME + 50, 8)
            .withTimes(IDLE, Duration.ZERO)
            .withRates(1_000, 50_000))
        .start()
        .block(LIMIT);
  }

  @AfterEach
  void close() {
    aGoodOneIsServed();
    bridge.close().then(owned.close()).block(LIMIT);
  }

  private void aGoodOneIsServed() {
    VfioDevice remote =
        Vfio.open(Vfio.remote(bridge.uri()).withToken(GOOD).device("nic")).block(LIMIT);
    assertThat(remote.config().read16(0).block(LIMIT)).isEqualTo((short) 0x1234);
    remote.close().block(LIMIT);
  }

  private RawClient client() throws IOException {
    return new RawClient(bridge);
  }

  private RawClient webSocket() throws IOException {
    return client().upgrade("nic", TOKEN);
  }

  private static void eventually(String what, BooleanSupplier condition) {
    assertThat(Flux.interval(Duration.ofMillis(20))
            .onBackpressureDrop()
            .publishOn(Schedulers.boundedElastic(), 1)
            .map(tick -> condition.getAsBoolean())
            .filter(Boolean::booleanValue)
            .blockFirst(LIMIT))
        .as(what)
        .isTrue();
  }

  private static long descriptors() {
    try (Stream<Path> open = Files.list(Path.of("/proc/self/fd"))) {
      return open.count();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private String ask(String request, String headers, String body) throws IOException {
    try (RawClient client = client()) {
      return client
          .send(request + " HTTP/1.1\r\nConnection: close\r\nContent-Length: " + body.length()
              + "\r\n" + headers + "\r\n" + body)
          .readAll();
    }
  }

  private static String with(String token) {
    return "Host: localhost\r\nAuthorization: Bearer " + token + "\r\n";
  }

  private static void tellsNothing(String answer) {
    assertThat(answer)
        .doesNotContain("\tat ", "Exception:", "java.", "reactor.", "io.netty", "root:")
        .doesNotContainIgnoringCase("access-control");
  }

  // ---- HTTP

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer the token of the hostil\r\n",
        "Authorization: Bearer the token of the hostile2\r\n",
        "Authorization: Basic dGhlIHRva2Vu\r\n",
        "Authorization: the token of the hostile\r\n"
      })
  void withoutATokenThereIsNothing(String header) throws IOException {
    for (String path : List.of("/v1/devices", "/v1/devices/nic/connect", "/v1", "/v1/devices/x")) {
      String answer = ask("GET " + path, "Host: localhost\r\n" + header, "");
      assertThat(answer).startsWith("HTTP/1.1 401 ").containsIgnoringCase("www-authenticate");
      tellsNothing(answer);
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "/v1/devices/../../../etc/passwd",
        "/v1/devices/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/../etc/passwd",
        "//etc/passwd",
        "/v1/devices/nic%00",
        "/v1/devices/nic/regions/9999999999999999999/data",
        "/v1/devices/nic/regions/-1/data",
        "/v1/devices/nic/regions/0/data?length=99999999999",
        "/v1/devices/nic/config?offset=0xffffffffffffffff",
        "/v1/devices/x%0d%0aSet-Cookie:%20a=b",
        "/v1/devices/%ff%fe",
        "/v1/devices/%",
        "http://elsewhere/v1/devices/nic/nothing"
      })
  void whatIsNotThereIsNotFound(String path) throws IOException {
    String answer = ask("GET " + path, with(TOKEN), "");
    assertThat(answer).matches("(?s)HTTP/1\\.1 4\\d\\d .*");
    assertThat(answer.substring(0, answer.indexOf("\r\n\r\n")))
        .doesNotContainIgnoringCase("set-cookie");
    tellsNothing(answer);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{",
        "[]",
        "\"data\"",
        "{\"data\":1}",
        "{\"data\":\"00\"",
        "{\"data\":\"00\"} {}",
        "{\"data\":\"00\",\"data\":\"11\"}",
        "{\"a\":{\"data\":\"00\"}}",
        "{\"data\":\"0\"}",
        "{\"data\":\"0g\"}",
        "{data:'00'}",
        "\u0000\u0001\u0002"
      })
  void whatIsNoRequestChangesNothing(String json) throws IOException {
    String answer = ask("PUT /v1/devices/nic/regions/0/data", with(TOKEN), json);
    assertThat(answer).startsWith("HTTP/1.1 400 ");
    tellsNothing(answer);
    assertThat(owned.bar(0).read32(0).block(LIMIT)).isZero();
  }

  @Test
  void isAskedByItsOwnNameAndFromItsOwnPages() throws IOException {
    String authorized = "Authorization: Bearer " + TOKEN + "\r\n";
    assertThat(ask("GET /v1/devices", "Host: evil.example\r\n" + authorized, ""))
        .startsWith("HTTP/1.1 421 ");
    assertThat(ask("GET /v1/devices", authorized, "")).matches("(?s)HTTP/1\\.1 4\\d\\d .*");
    assertThat(ask("GET /v1/devices", with(TOKEN) + "Origin: http://evil.example\r\n", ""))
        .startsWith("HTTP/1.1 403 ");
    assertThat(ask("GET /v1/devices", with(TOKEN) + "Origin: null\r\n", ""))
        .startsWith("HTTP/1.1 403 ");
    assertThat(ask("GET /v1/devices", with(TOKEN) + "Origin: http://localhost\r\n", ""))
        .startsWith("HTTP/1.1 200 ");
    String preflight =
        ask("OPTIONS /v1/devices", "Host: localhost\r\nOrigin: http://evil.example\r\n", "");
    assertThat(preflight).startsWith("HTTP/1.1 403 ");
    tellsNothing(preflight);
  }

  @Test
  void anEndlessHeadIsCutOff() throws IOException {
    try (RawClient client = client()) {
      client.send("GET /v1/devices HTTP/1.1\r\nHost: localhost\r\n");
      String answer = "";
      try {
        for (int i = 0; i < 10_000; i++) {
          client.send("X-" + i + ": " + "x".repeat(1000) + "\r\n");
        }
      } catch (IOException e) {
        // Closed in the middle.
      }
      answer = client.readAll();
      tellsNothing(answer);
    }
  }

  @Test
  void anEndlessBodyIsCutOff() throws IOException {
    try (RawClient client = client()) {
      client.send("PUT /v1/devices/nic/regions/0/data HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
          + with(TOKEN) + "\r\n");
      byte[] chunk = ("10000\r\n" + "x".repeat(0x10000) + "\r\n")
          .getBytes(java.nio.charset.StandardCharsets.US_ASCII);
      long sent = 0;
      try {
        while (sent < 1L << 30) {
          client.send(chunk);
          sent += chunk.length;
        }
      } catch (IOException e) {
        // Closed in the middle.
      }
      assertThat(sent).isLessThan(1L << 30);
    }
  }

  @Test
  void whoNeverComesToThePointIsCutOff() throws IOException {
    long begin = System.nanoTime();
    try (RawClient silent = client();
        RawClient half = client();
        RawClient slow = client();
        RawClient slowBody = client()) {
      half.send("GET /v1/devices HTTP/1.1\r\nHost: loc");
      slow.send("GET /v1/devices HTTP/1.1\r\n");
      slowBody.send("PUT /v1/devices/nic/regions/0/data HTTP/1.1\r\nContent-Length: 10000\r\n"
          + with(TOKEN) + "\r\n");
      // A byte now and then, until the server has had enough.
      for (RawClient dripping : List.of(slow, slowBody)) {
        Flux.interval(Duration.ofMillis(100))
            .onBackpressureDrop()
            .publishOn(Schedulers.boundedElastic(), 1)
            .map(tick -> {
              try {
                dripping.send("x");
                return true;
              } catch (IOException e) {
                return false;
              }
            })
            .filter(sent -> !sent)
            .blockFirst(LIMIT);
      }
      assertThat(silent.readAll()).isEmpty();
      tellsNothing(half.readAll());
    }
    assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(LIMIT);
  }

  // ---- WebSocket

  private int closeCode(byte[]... sent) throws IOException {
    try (RawClient client = webSocket()) {
      for (byte[] bytes : sent) {
        client.send(bytes);
      }
      int code = client.readCloseCode();
      assertThat(client.reason).doesNotContain("Exception", "java.");
      return code;
    }
  }

  private static byte[] message(byte[] content) {
    return RawClient.webSocketFrame(0x82, content);
  }

  @Test
  void whatIsNoFrameEndsTheConnection() throws IOException {
    byte[] hello = message(FrameCodec.encode(new Frame.Hello(1, Session.NONE, List.of())));
    assertThat(closeCode(message(new byte[] {99}))).isEqualTo(1002);
    assertThat(closeCode(message(new byte[0]))).isEqualTo(1002);
    assertThat(closeCode(message(FrameCodec.encode(new Frame.Ping())))).isEqualTo(1002);
    assertThat(closeCode(hello, hello)).isEqualTo(1002);
    assertThat(closeCode(hello, message(new byte[] {3, 0, 0, 0, 1}))).isEqualTo(1002);
    assertThat(closeCode(RawClient.webSocketFrame(0x81, "text".getBytes("US-ASCII"))))
        .isEqualTo(1002);
    assertThat(closeCode(message(FrameCodec.encode(new Frame.Hello(2, Session.NONE, List.of())))))
        .isEqualTo(1008);
  }

  @Test
  void whatIsTooLongEndsTheConnection() throws IOException {
    // A frame whose length alone is too much, and fragments that become too much.
    assertThat(
            closeCode(new byte[] {(byte) 0x82, (byte) 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))
        .isIn(1002, 1009, 0);
    byte[] fragment = new byte[60_000];
    assertThat(closeCode(
            RawClient.webSocketFrame(0x02, fragment), RawClient.webSocketFrame(0x00, fragment)))
        .isEqualTo(1009);
  }

  @Test
  void randomBytesAreNoHarm() throws IOException {
    Random random = new Random(20261125);
    for (int i = 0; i < 60; i++) {
      byte[] noise = new byte[random.nextInt(3000)];
      random.nextBytes(noise);
      try (RawClient client = i % 2 == 0 ? client() : webSocket()) {
        client.send(noise);
        client.socket.shutdownOutput();
        tellsNothing(client.readAll());
      } catch (IOException e) {
        // Reset: as good as closed.
      }
    }
  }

  @Test
  void randomFramesAreNoHarm() throws IOException {
    Random random = new Random(7);
    byte[] hello = FrameCodec.encode(new Frame.Hello(1, Session.NONE, List.of()));
    for (int i = 0; i < 60; i++) {
      try (RawClient client = webSocket()) {
        client.send(message(hello));
        for (int n = 0; n < 20; n++) {
          byte[] noise = new byte[1 + random.nextInt(60)];
          random.nextBytes(noise);
          noise[0] = (byte) random.nextInt(6);
          if (noise.length > 5 && noise[0] == 2) {
            noise[1] &= 0x7f;
            noise[5] = (byte) random.nextInt(12);
          }
          client.send(message(noise));
        }
        client.readCloseCode();
      } catch (IOException e) {
        // Closed before the last one.
      }
    }
  }

  @Test
  void sessionsOfOthersAreOutOfReach() throws IOException {
    try (RawClient first = webSocket()) {
      first.send(new Frame.Hello(1, Session.NONE, List.of()));
      Session session = ((Frame.Welcome) first.read()).session();
      try (RawClient thief = client().upgrade("nic", GOOD)) {
        thief.send(new Frame.Hello(1, session, List.of()));
        Frame.Welcome welcome = (Frame.Welcome) thief.read();
        assertThat(welcome.resumed()).isFalse();
        assertThat(welcome.session()).isNotEqualTo(session);
      }
      first.send(new Frame.Ping());
      assertThat(first.read()).isEqualTo(new Frame.Pong());
    }
  }

  @Test
  void sessionsAreLimited() throws IOException {
    List<RawClient> clients = new ArrayList<>();
    try {
      for (int i = 0; i < 8; i++) {
        RawClient client = webSocket();
        clients.add(client);
        client.send(new Frame.Hello(1, Session.NONE, List.of()));
        assertThat(client.read()).isInstanceOf(Frame.Welcome.class);
      }
      RawClient more = webSocket();
      clients.add(more);
      more.send(new Frame.Hello(1, Session.NONE, List.of()));
      assertThat(more.readCloseCode()).isEqualTo(1008);
      assertThat(more.reason).contains("too many sessions");
    } finally {
      for (RawClient client : clients) {
        client.close();
      }
    }
    eventually("the sessions end with their connections", () -> {
      try (RawClient next = webSocket()) {
        next.send(new Frame.Hello(1, Session.NONE, List.of()));
        return next.read() instanceof Frame.Welcome;
      } catch (IOException e) {
        return false;
      }
    });
  }

  /** Who asks and asks and takes no answer is not read any more, and closed when the time is up; a ping needs no answer. */
  @ParameterizedTest
  @ValueSource(ints = {0x82, 0x89})
  void whoReadsNoAnswersIsNotReadEither(int kind) throws IOException {
    byte[] ask = kind == 0x82
        ? message(FrameCodec.encode(new Frame.Ping()))
        : RawClient.webSocketFrame(kind, new byte[100]);
    try (RawClient client = new RawClient(bridge, 4096).upgrade("nic", TOKEN)) {
      client.send(new Frame.Hello(1, Session.NONE, List.of()));
      byte[] many = new byte[ask.length * 1000];
      for (int i = 0; i < 1000; i++) {
        System.arraycopy(ask, 0, many, i * ask.length, ask.length);
      }
      long most = kind == 0x82 ? 1L << 29 : 1L << 24;
      long sent = 0;
      try {
        // Ends because the server closes: what it would have to keep until then is bounded.
        while (sent < most) {
          client.send(many);
          sent += many.length;
        }
      } catch (IOException e) {
        // Closed.
      }
      if (kind == 0x82) {
        assertThat(sent).isLessThan(most);
      }
    }
  }

  @Test
  void whoReadsNoSignalsCostsOneElement() throws IOException {
    long elements = 20_000;
    try (RawClient client = new RawClient(bridge, 2048).upgrade("nic", TOKEN)) {
      client.send(new Frame.Hello(1, Session.NONE, List.of()));
      assertThat(client.read()).isInstanceOf(Frame.Welcome.class);
      IrqRequest arm = new IrqRequest(
          2, IrqSet.Action.TRIGGER, IrqSet.Data.EVENTFD, 1, 1, List.of(0), List.of(5));
      client.send(new Frame.Call(1, CallType.SET_IRQS, arm.toBody()));
      assertThat(client.read()).isInstanceOf(Frame.Result.class);
      client.send(new Frame.Request(5, Long.MAX_VALUE));
      for (int i = 0; i < elements; i++) {
        hardware.raiseMsix(1);
      }
      long total = 0;
      while (total < elements) {
        Frame frame = client.read();
        assertThat(frame).isInstanceOf(Frame.Signals.class);
        long now = ((Frame.Signals) frame).total();
        assertThat(now).isGreaterThan(total);
        total = now;
      }
      assertThat(total).isEqualTo(elements);
      client.send(new Frame.Goodbye());
      assertThat(client.readCloseCode()).isEqualTo(1000);
    }
  }

  /** The other end has vanished, and nothing says so: silence does. */
  @Test
  void halfOpenConnectionsEnd() throws IOException {
    try (RawClient client = webSocket()) {
      client.send(new Frame.Hello(1, Session.NONE, List.of()));
      assertThat(client.read()).isInstanceOf(Frame.Welcome.class);
      assertThat(client.read()).isNull();
    }
  }

  // ---- many

  @Test
  void manyConnectionsLeaveNothingBehind() throws IOException {
    aGoodOneIsServed();
    long before = descriptors();
    Random random = new Random(1);
    InetSocketAddress address =
        new InetSocketAddress(InetAddress.getLoopbackAddress(), bridge.uri().getPort());
    for (int round = 0; round < CONNECTIONS / AT_A_TIME; round++) {
      List<SocketChannel> open = new ArrayList<>();
      for (int i = 0; i < AT_A_TIME; i++) {
        SocketChannel channel = SocketChannel.open(address);
        open.add(channel);
        if (i % 2 == 0) {
          byte[] part = "GET /v1/devices HTTP/1.1\r\nHost: localhost\r\n".getBytes("US-ASCII");
          channel.write(ByteBuffer.wrap(part, 0, random.nextInt(part.length)));
        }
      }
      aGoodOneIsServed();
      for (SocketChannel channel : open) {
        channel.close();
      }
    }
    eventually("every descriptor is given back", () -> descriptors() <= before + 8);
  }

  @Test
  void tooManyConnectionsAreClosed() throws IOException {
    int most = 20;
    VfioBridge small = VfioBridge.builder()
        .export(owned)
        .token(TOKEN, Permission.READ_CONFIG)
        .limits(BridgeLimits.defaults().withConnections(most, 8))
        .start()
        .block(LIMIT);
    String request = "GET /v1/devices HTTP/1.1\r\n" + with(TOKEN) + "\r\n";
    List<RawClient> clients = new ArrayList<>();
    try {
      for (int i = 0; i < most; i++) {
        RawClient client = new RawClient(small);
        clients.add(client);
        assertThat(client.send(request).readHead()).startsWith("HTTP/1.1 200 ");
      }
      try (RawClient more = new RawClient(small)) {
        assertThat(more.readAll()).isEmpty();
      }
      clients.remove(0).close();
      eventually("there is room again", () -> {
        try (RawClient next = new RawClient(small)) {
          return next.send(request).readHead().startsWith("HTTP/1.1 200 ");
        } catch (IOException e) {
          return false;
        }
      });
    } finally {
      for (RawClient client : clients) {
        client.close();
      }
      small.close().block(LIMIT);
    }
  }

  @Test
  void tooManyRequestsAreRefused() throws IOException {
    StringBuilder many = new StringBuilder();
    for (int i = 0; i < 3_000; i++) {
      many.append("GET /v1/devices HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    try (RawClient client = client()) {
      client.socket.setSoTimeout(30_000);
      Flux<String> answers = Flux.defer(() -> {
        try {
          return Flux.just(client
              .send(many + "GET / HTTP/1.1\r\nHost: localhost\r\n" + "Connection: close\r\n\r\n")
              .readAll());
        } catch (IOException e) {
          return Flux.error(e);
        }
      });
      assertThat(answers.blockLast(LIMIT)).contains("HTTP/1.1 401 ").contains("HTTP/1.1 429 ");
    }
  }
}
