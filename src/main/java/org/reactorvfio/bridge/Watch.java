package org.reactorvfio.bridge;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.irq.VectorStatus;
import org.reactorvfio.linux.Errno;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * What is to be seen of an exported device: its vectors, and who takes part in them. Watching takes no signal and has no demand; what
 * it costs does not grow with how many watch.
 */
final class Watch {
  /** How often those who watch are told. */
  private static final Duration PERIOD = Duration.ofSeconds(1);

  /** For how long what was seen is as good as new. */
  private static final Duration FRESH = Duration.ofMillis(400);

  private final Export export;
  private final BridgeSessions sessions;
  private final long start;
  private final Mono<Void> end;
  private final Mono<Seen> now;
  private volatile boolean closed;

  /**
   * Watches a device.
   *
   * @param start when the server started, by {@link System#nanoTime}: what is seen is dated from there
   * @param stopped ends when the server does
   */
  Watch(Export export, BridgeSessions sessions, long start, Mono<Void> stopped) {
    this.export = export;
    this.sessions = sessions;
    this.start = start;
    Mono<Void> gone =
        export.device().onClose().doOnSuccess(end -> closed = true).cache();
    gone.takeUntilOther(stopped).subscribe();
    this.end = Mono.firstWithSignal(gone, stopped);
    this.now = Mono.defer(this::look).cache(FRESH);
  }

  /** A vector that is armed: by the owner, session 0, or by a client. */
  private record Vector(int session, VectorStatus status) {
    String key() {
      return status.index() + "/" + status.vector() + "/" + session;
    }

    void write(JsonGenerator json) throws IOException {
      json.writeStartObject();
      json.writeNumberField("index", status.index());
      json.writeNumberField("vector", status.vector());
      json.writeNumberField("session", session);
      json.writeStringField("state", status.state().name());
      json.writeNumberField("total", status.total());
      json.writeNumberField("waiting", status.waiting());
      json.writeNumberField("behind", status.behind());
      json.writeNumberField("subscribers", status.subscribers());
      json.writeNumberField("demand", bounded(status.demand()));
      json.writeEndObject();
    }
  }

  /** A client's stream of a vector. */
  private record Stream(
      int session, int index, int vector, boolean shared, Served.Progress progress) {
    String key() {
      return session + "/" + index + "/" + vector;
    }

    void write(JsonGenerator json) throws IOException {
      json.writeStartObject();
      json.writeNumberField("session", session);
      json.writeNumberField("index", index);
      json.writeNumberField("vector", vector);
      json.writeBooleanField("shared", shared);
      json.writeNumberField("total", progress.total());
      json.writeNumberField("demand", bounded(progress.credit()));
      json.writeEndObject();
    }
  }

  private record Client(int session, boolean connected) {}

  /** All of it, at one moment. */
  private record Seen(long at, List<Vector> vectors, List<Client> clients, List<Stream> streams) {
    long total() {
      return vectors.stream().mapToLong(vector -> vector.status().total()).sum();
    }
  }

  /** How much demand there is; -1 for as much as can be. */
  private static long bounded(long demand) {
    return demand == Long.MAX_VALUE ? -1 : demand;
  }

  // ---- looking

  private Mono<Seen> look() {
    return export.device().interrupts().status().map(owned -> {
      List<Vector> vectors = new ArrayList<>();
      List<Client> clients = new ArrayList<>();
      List<Stream> streams = new ArrayList<>();
      owned.forEach(status -> vectors.add(new Vector(0, status)));
      for (BridgeSessions.Numbered each : sessions.of(export)) {
        clients.add(new Client(each.number(), each.session().connected()));
        for (Served stream : each.session().streams()) {
          boolean shared = stream instanceof SharedVector;
          streams.add(
              new Stream(each.number(), stream.index, stream.vector, shared, stream.progress()));
          if (!shared) {
            vectors.add(new Vector(each.number(), armed((ArmedVector) stream)));
          }
        }
      }
      return new Seen((System.nanoTime() - start) / 1_000_000, vectors, clients, streams);
    });
  }

  private static VectorStatus armed(ArmedVector vector) {
    Served.Progress before = vector.progress();
    long waiting = before.wanted() ? 0 : vector.waiting();
    Served.Progress after = vector.progress();
    return new VectorStatus(
        vector.index,
        vector.vector,
        after.wanted() ? VectorStatus.State.WATCHED : VectorStatus.State.PARKED,
        after.total(),
        // What was waiting was taken by now, if anything was.
        after.total() == before.total() ? waiting : 0,
        0,
        1,
        after.credit());
  }

  // ---- telling

  /** All of it, now; fails if the device is closed. */
  Mono<Json.Content> stats() {
    return requireOpen()
        .then(now)
        .map(seen -> json -> write(json, seen, seen.vectors(), seen.streams()));
  }

  /** Fails if the device is closed. */
  Mono<Void> requireOpen() {
    return Mono.defer(() -> closed
        ? Mono.error(new DeviceClosedException(
            "stats", export.name(), Errno.ENODEV, "the owner has closed the device", "open it"))
        : Mono.empty());
  }

  /** One line of it. */
  Mono<Json.Content> summary() {
    return Mono.defer(() -> closed ? Mono.just(new Seen(0, List.of(), List.of(), List.of())) : now)
        .map(seen -> json -> {
          json.writeStringField("name", export.name());
          json.writeStringField("kind", export.device().info().kind().name());
          json.writeBooleanField("open", !closed);
          json.writeNumberField("at", seen.at());
          json.writeNumberField("vectors", seen.vectors().size());
          json.writeNumberField("total", seen.total());
          json.writeNumberField("sessions", seen.clients().size());
          json.writeNumberField("streams", seen.streams().size());
        });
  }

  /**
   * Server-Sent Events, one a second: {@code snapshot} has all of it, {@code changes} what is not as it was. The last one is {@code
   * closed} if the device is. Who does not take them in time gets fewer.
   */
  Flux<byte[]> events() {
    return Flux.defer(() -> {
          Told told = new Told();
          return Flux.interval(Duration.ZERO, PERIOD)
              .onBackpressureDrop()
              .concatMap(tick -> now, 1)
              .map(told::next);
        })
        .takeUntilOther(end)
        .concatWith(Mono.fromSupplier(() -> closed ? event("closed", json -> {}) : new byte[0])
            .filter(event -> event.length > 0));
  }

  /** What one of those who watch knows. */
  private final class Told {
    private Map<String, Vector> vectors = new HashMap<>();
    private Map<String, Stream> streams = new HashMap<>();
    private boolean begun;

    byte[] next(Seen seen) {
      Map<String, Vector> formerVectors = vectors;
      Map<String, Stream> formerStreams = streams;
      vectors = new HashMap<>();
      seen.vectors().forEach(each -> vectors.put(each.key(), each));
      streams = new HashMap<>();
      seen.streams().forEach(each -> streams.put(each.key(), each));
      // What is gone is not told: then everything is.
      boolean changes = begun
          && vectors.keySet().containsAll(formerVectors.keySet())
          && streams.keySet().containsAll(formerStreams.keySet());
      begun = true;
      return changes
          ? event(
              "changes",
              json -> write(
                  json,
                  seen,
                  seen.vectors().stream()
                      .filter(each -> !each.equals(formerVectors.get(each.key())))
                      .toList(),
                  seen.streams().stream()
                      .filter(each -> !each.equals(formerStreams.get(each.key())))
                      .toList()))
          : event("snapshot", json -> write(json, seen, seen.vectors(), seen.streams()));
    }
  }

  private void write(JsonGenerator json, Seen seen, List<Vector> vectors, List<Stream> streams)
      throws IOException {
    json.writeStringField("device", export.name());
    json.writeNumberField("at", seen.at());
    json.writeArrayFieldStart("vectors");
    for (Vector vector : vectors) {
      vector.write(json);
    }
    json.writeEndArray();
    json.writeArrayFieldStart("sessions");
    for (Client client : seen.clients()) {
      json.writeStartObject();
      json.writeNumberField("session", client.session());
      json.writeBooleanField("connected", client.connected());
      json.writeEndObject();
    }
    json.writeEndArray();
    json.writeArrayFieldStart("streams");
    for (Stream stream : streams) {
      stream.write(json);
    }
    json.writeEndArray();
  }

  private static byte[] event(String name, Json.Content content) {
    String data = new String(Json.object(content), StandardCharsets.UTF_8);
    return ("event: " + name + "\ndata: " + data + "\n\n").getBytes(StandardCharsets.UTF_8);
  }
}
