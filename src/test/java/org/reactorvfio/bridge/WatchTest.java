package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Vectors;
import reactor.core.publisher.Flux;
import reactor.netty.http.client.HttpClient;
import reactor.netty.http.client.HttpClientResponse;
import reactor.test.StepVerifier;

/** What the page is told, without a browser. */
class WatchTest {
  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final String ALL = "a token for everything";
  private static final String LOOKING = "a token for looking";

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .name("nic")
      .pciExpress()
      .memoryBar(0, 4096)
      .msi(4)
      .msix(4)
      .build();
  private VfioDevice owned;
  private VfioBridge bridge;

  @BeforeEach
  void open() {
    owned = Vfio.open(hardware).block(LIMIT);
    owned.config().enableBusMaster().block(LIMIT);
    bridge = VfioBridge.builder()
        .export(owned, Permission.values())
        .token(ALL, Permission.values())
        .token(LOOKING)
        .start()
        .block(LIMIT);
  }

  @AfterEach
  void close() {
    bridge.close().then(owned.close()).block(LIMIT);
  }

  private HttpClient client(String token) {
    return HttpClient.newConnection()
        .baseUrl(bridge.uri().toString())
        .headers(headers -> headers.set("Authorization", "Bearer " + token));
  }

  private Map<String, Object> get(String path) {
    String text =
        client(ALL).get().uri(path).responseContent().aggregate().asString().block(LIMIT);
    return Chromium.object(Chromium.parse(text));
  }

  private int status(String token, String path) {
    return client(token).get().uri(path).response().block(LIMIT).status().code();
  }

  /** The events of the stream, each as {@code name data}. */
  private Flux<String> events() {
    return client(LOOKING)
        .get()
        .uri("/v1/devices/nic/stats/events")
        .responseContent()
        .asString()
        .concatMapIterable(text -> List.of(text.split("(?<=\n)")))
        .bufferUntil("\n"::equals)
        .map(lines -> String.join("", lines).replace("event: ", "").replaceFirst("\ndata: ", " "));
  }

  private static List<Map<String, Object>> vectors(String event) {
    return list(Chromium.object(Chromium.parse(event.substring(event.indexOf(' ')))), "vectors");
  }

  @SuppressWarnings("unchecked")
  private static List<Map<String, Object>> list(Map<String, Object> object, String name) {
    return (List<Map<String, Object>>) object.get(name);
  }

  private static boolean isMsix(Map<String, Object> vector) {
    return vector.get("index").equals(2);
  }

  private void raise(int vector, int times) {
    for (int i = 0; i < times; i++) {
      hardware.raiseMsix(vector);
    }
  }

  @Test
  void tellsAllAtFirstAndThenWhatChanges() {
    owned.interrupts().msix().enable(2).block(LIMIT);
    raise(0, 3);
    StepVerifier.create(events())
        .assertNext(event -> {
          assertThat(event).startsWith("snapshot ");
          assertThat(vectors(event).stream().filter(WatchTest::isMsix))
              .extracting(vector -> vector.get("total"), vector -> vector.get("waiting"))
              .containsExactly(tuple(3, 3), tuple(0, 0));
          raise(1, 4);
        })
        .assertNext(event -> {
          assertThat(event).startsWith("changes ");
          assertThat(vectors(event)).hasSize(1);
          assertThat(vectors(event).get(0))
              .containsEntry("vector", 1)
              .containsEntry("total", 4)
              .containsEntry("waiting", 4)
              .containsEntry("state", "PARKED")
              .containsEntry("demand", 0)
              .containsEntry("session", 0);
          owned.interrupts().msix().disarm(0).subscribe();
        })
        .thenConsumeWhile(event -> event.startsWith("changes "))
        .assertNext(event -> {
          assertThat(event).startsWith("snapshot ");
          assertThat(vectors(event).stream().filter(WatchTest::isMsix)).hasSize(1);
          owned.close().subscribe();
        })
        .thenConsumeWhile(event -> !event.startsWith("closed "))
        .expectNextMatches(event -> event.startsWith("closed "))
        .expectComplete()
        .verify(LIMIT);
    assertThat(status(LOOKING, "/v1/devices/nic/stats")).isEqualTo(410);
    assertThat(status(LOOKING, "/v1/devices/nic/stats/events")).isEqualTo(410);
    assertThat(list(get("/v1/stats"), "devices").get(0))
        .containsEntry("name", "nic")
        .containsEntry("open", false);
  }

  @Test
  void tellsOfWhatClientsHaveArmedThemselves() {
    VfioDevice far =
        Vfio.open(Vfio.remote(bridge.uri()).withToken(ALL).device("nic")).block(LIMIT);
    Vectors msix = far.interrupts().msix();
    msix.enable(2).block(LIMIT);
    StepVerifier.create(msix.vector(0).map(Interrupt::count), 1)
        .then(() -> raise(0, 1))
        .expectNext(1L)
        .then(() -> raise(0, 6))
        .then(() -> raise(1, 5))
        .then(() -> {
          Map<String, Object> stats = get("/v1/devices/nic/stats");
          assertThat(list(stats, "sessions"))
              .containsExactly(Map.of("session", 1, "connected", true));
          assertThat(list(stats, "vectors").stream().filter(WatchTest::isMsix))
              .hasSize(2)
              .allSatisfy(vector -> assertThat(vector)
                  .containsEntry("session", 1)
                  .containsEntry("state", "PARKED")
                  .containsEntry("subscribers", 1));
          assertThat(list(stats, "vectors").stream()
                  .filter(WatchTest::isMsix)
                  .mapToInt(vector -> (int) vector.get("total"))
                  .sum())
              .isEqualTo(12);
          assertThat(list(stats, "streams").stream().filter(WatchTest::isMsix))
              .hasSize(2)
              .allSatisfy(stream -> assertThat(stream).containsEntry("shared", false));
        })
        .thenRequest(1)
        .expectNext(6L)
        .thenCancel()
        .verify(LIMIT);
    far.close().block(LIMIT);
    assertThat(list(get("/v1/stats"), "devices").get(0)).containsEntry("open", true);
  }

  @Test
  void showsThePageToEverybodyAndTheDeviceToThoseWithAToken() {
    HttpClientResponse page =
        HttpClient.newConnection().get().uri(bridge.uri() + "/").response().block(LIMIT);
    assertThat(page.status().code()).isEqualTo(200);
    assertThat(page.responseHeaders().get("Content-Security-Policy"))
        .contains("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'")
        .doesNotContain("unsafe");
    assertThat(page.responseHeaders().get("X-Content-Type-Options")).isEqualTo("nosniff");
    assertThat(page.responseHeaders().get("Cache-Control")).isEqualTo("no-store");
    assertThat(status("no token of anybody's", "/page.js")).isEqualTo(200);
    assertThat(status("no token of anybody's", "/v1/stats")).isEqualTo(401);
    assertThat(status("no token of anybody's", "/v1/devices/nic/stats/events")).isEqualTo(401);
    assertThat(status(LOOKING, "/v1/devices/nic/stats")).isEqualTo(200);
    assertThat(status(LOOKING, "/v1/devices/nic/stats/nothing")).isEqualTo(404);
    assertThat(client(LOOKING).post().uri("/").response().block(LIMIT).status().code())
        .isEqualTo(405);
  }

  @Test
  void decodesConfigurationSpaceForThoseWhoMayReadIt() {
    assertThat(status(LOOKING, "/v1/devices/nic/config/decoded")).isEqualTo(403);
    assertThat(status(ALL, "/v1/devices/nic/config/nothing")).isEqualTo(404);
    Map<String, Object> config = get("/v1/devices/nic/config/decoded");
    assertThat(config).containsEntry("size", 4096).doesNotContainKey("problem");
    assertThat(config.get("data").toString()).hasSize(8192).startsWith("34127856");
    assertThat(list(config, "header").get(1))
        .isEqualTo(Map.of("name", "Device ID", "offset", 2, "value", "0x5678"));
    assertThat(list(config, "bars").get(0))
        .containsEntry("index", 0)
        .containsEntry("size", 4096)
        .containsEntry("kind", "memory");
    assertThat(list(config, "capabilities"))
        .extracting(capability -> capability.get("name"))
        .containsExactly("Power Management", "PCI Express", "MSI", "MSI-X");
    assertThat(list(list(config, "capabilities").get(3), "fields"))
        .contains(Map.of("name", "Vectors", "value", "4"));
  }

  @Test
  void namesCapabilities() {
    assertThat(ConfigView.name(false, 0x14)).isEqualTo("Enhanced Allocation");
    assertThat(ConfigView.name(true, 0x01)).isEqualTo("Advanced Error Reporting");
    assertThat(ConfigView.name(true, 0x10)).isEqualTo("SR-IOV");
    assertThat(ConfigView.name(true, 0x1e)).isEqualTo("L1 PM Substates");
    assertThat(ConfigView.name(true, 0x23)).isEqualTo("Designated Vendor-Specific");
    assertThat(ConfigView.name(true, 0x2e)).isEqualTo("Data Object Exchange");
    assertThat(ConfigView.name(true, 0xffff)).isEqualTo("Unknown");
  }

  @Test
  void aKeptConnectionEndsWithTheServer() throws IOException {
    try (Socket socket = new Socket("127.0.0.1", bridge.uri().getPort())) {
      socket.setSoTimeout((int) LIMIT.toMillis());
      BufferedReader in = new BufferedReader(
          new InputStreamReader(socket.getInputStream(), StandardCharsets.US_ASCII));
      socket
          .getOutputStream()
          .write("GET /page.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"
              .getBytes(StandardCharsets.US_ASCII));
      assertThat(in.readLine()).isEqualTo("HTTP/1.1 200 OK");
      StepVerifier.create(events())
          .expectNextCount(1)
          .then(() -> bridge.close().block(LIMIT))
          .thenConsumeWhile(event -> true)
          .expectComplete()
          .verify(LIMIT);
      while (in.readLine() != null) {
        // The rest of the answer, and then the end.
      }
    }
  }
}
