package org.reactorvfio.samples.irqtop;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import io.netty.channel.unix.DomainSocketAddress;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.reactorvfio.VfioException;
import reactor.core.publisher.Mono;
import reactor.netty.http.Http11SslContextSpec;
import reactor.netty.http.client.HttpClient;
import reactor.netty.tcp.SslProvider;

/** A bridge, asked over HTTP what its devices are and what they have signalled: to look at them changes nothing. */
final class Server {
  private static final Duration LIMIT = Duration.ofSeconds(30);

  private final URI uri;
  private final Access access;

  Server(URI uri, Access access) {
    this.uri = uri;
    this.access = access;
  }

  /** An interrupt index of a device, and whether its owner has enabled it. */
  record Irq(int index, int count, boolean enabled) {}

  /** The interrupt indices of a device that have vectors. */
  Mono<List<Irq>> irqs(String device) {
    return get(device, "/irqs").map(json -> {
      List<Irq> irqs = new ArrayList<>();
      for (Map<String, String> irq : objects(json)) {
        if (irq.containsKey("index") && !"0".equals(irq.get("count"))) {
          irqs.add(new Irq(
              Integer.parseInt(irq.get("index")),
              Integer.parseInt(irq.get("count")),
              Boolean.parseBoolean(irq.get("enabled"))));
        }
      }
      return irqs;
    });
  }

  /** How often each armed vector of a device was signalled since it was armed. */
  Mono<SortedMap<Vector, Long>> totals(String device) {
    return get(device, "/stats").map(json -> {
      SortedMap<Vector, Long> totals = new TreeMap<>();
      for (Map<String, String> vector : objects(json)) {
        // Clients' streams are told of, too: they have no state.
        if (vector.containsKey("state")) {
          totals.merge(
              new Vector(
                  Integer.parseInt(vector.get("index")), Integer.parseInt(vector.get("vector"))),
              Long.parseLong(vector.get("total")),
              Long::sum);
        }
      }
      return totals;
    });
  }

  /** What kind of device it is, and what may be done with it. */
  Mono<Map<String, String>> properties(String device) {
    return get(device, "").map(json -> objects(json).get(0));
  }

  private Mono<byte[]> get(String device, String what) {
    String name = URLEncoder.encode(device, StandardCharsets.UTF_8).replace("+", "%20");
    return client()
        .get()
        .uri("/v1/devices/" + name + what)
        .responseSingle((response, content) -> content
            .asByteArray()
            .defaultIfEmpty(new byte[0])
            .flatMap(json -> response.status().code() == 200
                ? Mono.just(json)
                : Mono.error(refusal(device, response.status().code(), json))))
        .timeout(LIMIT)
        .onErrorMap(
            e -> !(e instanceof VfioException),
            e -> new VfioException(
                "connect",
                device,
                0,
                uri + " cannot be reached: " + e.getMessage(),
                "see whether the server runs there, and is the one that is meant",
                e));
  }

  private VfioException refusal(String device, int status, byte[] json) {
    Map<String, String> said;
    try {
      said = objects(json).get(0);
    } catch (RuntimeException e) {
      said = Map.of();
    }
    return new VfioException(
        "request",
        device,
        0,
        said.getOrDefault("problem", uri + " answers with status " + status),
        said.getOrDefault(
            "remedy", status == 401 ? "show the token that its owner has" : "see its log"));
  }

  private HttpClient client() {
    HttpClient client = HttpClient.newConnection()
        .headers(headers -> headers.set("Authorization", "Bearer " + access.needToken()));
    if (uri.getScheme().equals("unix")) {
      return client.remoteAddress(() -> new DomainSocketAddress(uri.getPath()));
    }
    HttpClient there = client.baseUrl(uri.toString());
    return uri.getScheme().equals("https")
        ? there.secure(spec -> spec.sslContext((SslProvider.GenericSslContextSpec<?>) tls()))
        : there;
  }

  private Http11SslContextSpec tls() {
    Http11SslContextSpec spec = Http11SslContextSpec.forClient();
    spec.configure(context -> {
      access.authorities().ifPresent(pem -> context.trustManager(pem.toFile()));
      if (access.certificate().isPresent() && access.key().isPresent()) {
        context.keyManager(
            access.certificate().get().toFile(), access.key().get().toFile());
      }
    });
    return spec;
  }

  /** The innermost objects, each with its fields as texts; those of an array are put together with spaces. */
  static List<Map<String, String>> objects(byte[] json) {
    List<Map<String, String>> found = new ArrayList<>();
    Map<String, String> present = new TreeMap<>();
    try (JsonParser parser = Json.FACTORY.createParser(json)) {
      String array = "";
      for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
        switch (token) {
          case START_OBJECT -> present = new TreeMap<>();
          case END_OBJECT -> {
            if (!present.isEmpty()) {
              found.add(present);
              present = new TreeMap<>();
            }
          }
          case START_ARRAY -> array = String.valueOf(parser.currentName());
          case END_ARRAY -> array = "";
          case VALUE_STRING, VALUE_NUMBER_INT, VALUE_TRUE, VALUE_FALSE -> {
            if (parser.currentName() == null) {
              present.merge(array, parser.getText(), (before, more) -> before + " " + more);
            } else {
              present.put(parser.currentName(), parser.getText());
            }
          }
          default -> {
            // Nothing that is asked for.
          }
        }
      }
    } catch (IOException e) {
      throw new IllegalArgumentException("a server's answer is no JSON");
    }
    return found;
  }
}
