package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;

import io.netty.handler.codec.http.HttpMethod;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import reactor.core.publisher.Mono;
import reactor.netty.ByteBufFlux;
import reactor.netty.http.HttpProtocol;
import reactor.netty.http.client.HttpClient;
import reactor.test.StepVerifier;

/** What curl and browsers see. */
class HttpFaceTest {
  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final String READER = "a reader's token";
  private static final String WRITER = "a writer's token";

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
    owned.config().enableBusMaster().block(LIMIT);
    bridge = VfioBridge.builder()
        .export(owned, Permission.values())
        .token(READER, Permission.READ_CONFIG)
        .token(WRITER, Permission.values())
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

  private String ask(HttpClient client, HttpMethod method, String path, String body) {
    return client
        .request(method)
        .uri(path)
        .send(ByteBufFlux.fromString(Mono.just(body)))
        .responseSingle((response, content) -> content
            .asString()
            .defaultIfEmpty("")
            .map(text -> response.status().code() + " " + text))
        .block(LIMIT);
  }

  private String get(String path) {
    return ask(client(READER), HttpMethod.GET, path, "");
  }

  @Test
  void describesDevices() {
    assertThat(get("/v1/devices"))
        .isEqualTo("200 {\"devices\":[{\"name\":\"nic\",\"kind\":\"PCI\"}]}");
    assertThat(get("/v1/devices/nic"))
        .startsWith("200 {\"name\":\"nic\",\"kind\":\"PCI\"")
        .contains("\"allowed\":[\"READ_CONFIG\"]");
    assertThat(get("/v1/devices/nic/regions")).contains("{\"index\":0,", "\"size\":4096");
    assertThat(get("/v1/devices/nic/config?length=4")).contains("\"data\":\"34127856\"");
    assertThat(get("/v1/devices/nic/irqs")).contains("\"index\":2", "\"count\":4");
    assertThat(get("/v1/devices/nic/counters")).startsWith("200 {\"sessions\":0");
  }

  @Test
  void speaksHttp2InClearText() {
    HttpClient http2 = client(READER).protocol(HttpProtocol.H2C);
    assertThat(ask(http2, HttpMethod.GET, "/v1/devices", "")).startsWith("200 {\"devices\"");
  }

  @Test
  void refusesWithAReason() {
    assertThat(ask(client("not a token at all"), HttpMethod.GET, "/v1/devices", ""))
        .startsWith("401 {\"error\"");
    assertThat(get("/v1/devices/other")).startsWith("404 {\"error\":\"DeviceNotFoundException\"");
    assertThat(get("/v1/devices/nic/nothing")).startsWith("404 ");
    assertThat(get("/nothing")).startsWith("404 ");
    assertThat(get("/v1/devices/nic/regions/0/data"))
        .startsWith("403 {\"error\":\"PermissionDeniedException\"");
    assertThat(get("/v1/devices/nic/reset")).startsWith("405 ");
    assertThat(get("/v1/devices/nic/config?length=-1")).startsWith("400 ");
    assertThat(get("/v1/devices/nic/config?length=x")).startsWith("400 ");
    assertThat(get("/v1/devices/%zz")).startsWith("400 ");
    assertThat(get("/v1/devices/nic/irqs/2/0/events"))
        .startsWith("409 {\"error\":\"IllegalStateException\"");
    assertThat(get("/v1/devices/nic/connect")).startsWith("426 ");
  }

  @Test
  void readsAndWritesWhereItMay() {
    HttpClient writer = client(WRITER);
    String data = "/v1/devices/nic/regions/0/data?offset=0x10&length=4";
    assertThat(ask(writer, HttpMethod.PUT, data, "{\"data\":\"01020304\"}"))
        .isEqualTo("200 {\"count\":4}");
    assertThat(ask(writer, HttpMethod.GET, data, "")).contains("\"data\":\"01020304\"");
    assertThat(ask(writer, HttpMethod.PUT, data, "no JSON")).startsWith("400 ");
    assertThat(ask(writer, HttpMethod.PUT, data, "{\"data\":\"zz\"}")).startsWith("400 ");
    assertThat(ask(writer, HttpMethod.PUT, data, "x".repeat(100_000))).startsWith("413 ");
    assertThat(ask(client(READER), HttpMethod.PUT, data, "{\"data\":\"01\"}")).startsWith("403 ");
  }

  @Test
  void tellsSignalsAsEvents() {
    owned.interrupts().msix().enable(2).block(LIMIT);
    StepVerifier.create(client(READER)
            .get()
            .uri("/v1/devices/nic/irqs/2/1/events")
            .responseContent()
            .asString()
            .doOnSubscribe(s -> hardware.raiseMsix(1))
            .take(1))
        .assertNext(event -> assertThat(event)
            .isEqualTo("event: signals\nid: 1\n"
                + "data: {\"index\":2,\"vector\":1,\"count\":1,\"total\":1}\n\n"))
        .expectComplete()
        .verify(LIMIT);
  }
}
