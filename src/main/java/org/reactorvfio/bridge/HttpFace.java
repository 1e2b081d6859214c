package org.reactorvfio.bridge;

import com.fasterxml.jackson.core.JsonGenerator;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URLDecoder;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Publisher;
import org.reactivestreams.Subscription;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.irq.IntxInterrupt;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.netty.http.server.HttpServerRequest;
import reactor.netty.http.server.HttpServerResponse;
import reactor.util.Logger;
import reactor.util.Loggers;

/** The server's face for people: JSON and Server-Sent Events, and the way to the WebSocket. */
final class HttpFace {
  private static final Logger LOG = Loggers.getLogger(HttpFace.class);
  private static final String VERSION = "v1";
  private static final String JSON = "application/json";
  private static final String TOO_MANY = "too many requests: wait a second";
  private static final int EINVAL = 22;
  private static final int DEFAULT_LENGTH = 256;

  private final Map<String, Export> exports;
  private final Access access;
  private final BridgeLimits limits;
  private final Names names;
  private final Upgrade upgrade;
  private final Function<Export, Watch> watches;
  private final Map<String, Page> pages = Page.parts();

  /** Makes a WebSocket of a request. */
  interface Upgrade {
    Publisher<Void> connect(Export export, Access.Token token, HttpServerResponse response);
  }

  HttpFace(
      Map<String, Export> exports,
      Access access,
      BridgeLimits limits,
      Names names,
      Upgrade upgrade,
      Function<Export, Watch> watches) {
    this.names = names;
    this.exports = exports;
    this.access = access;
    this.limits = limits;
    this.upgrade = upgrade;
    this.watches = watches;
  }

  /** A request that is refused before it reaches a device. */
  private static final class Refused extends RuntimeException {
    private static final long serialVersionUID = 1L;
    final int status;

    Refused(int status, String why) {
      super(why, null, false, false);
      this.status = status;
    }
  }

  Publisher<Void> handle(HttpServerRequest request, HttpServerResponse response) {
    // What is answered is the owner's business of the moment, and nobody else's.
    response
        .header(HttpHeaderNames.CACHE_CONTROL, "no-store")
        .header("X-Content-Type-Options", "nosniff");
    return Mono.defer(() -> Mono.from(route(request, response)))
        .onErrorResume(e -> failed(response, e));
  }

  private void checkNames(HttpServerRequest request) {
    String host = request.requestHeaders().get(HttpHeaderNames.HOST);
    if (!names.has(host)) {
      throw new Refused(421, "this server has another name: ask it as localhost or 127.0.0.1");
    }
    String origin = request.requestHeaders().get(HttpHeaderNames.ORIGIN);
    if (origin != null && !Names.sameOrigin(origin, host)) {
      throw new Refused(403, "pages of other origins are not answered");
    }
  }

  private Publisher<Void> route(HttpServerRequest request, HttpServerResponse response) {
    checkNames(request);
    Page page = pages.get(request.uri());
    if (page != null) {
      return page(request, response, page);
    }
    Access.Token token = access.find(request.requestHeaders().get(HttpHeaderNames.AUTHORIZATION));
    if (!access.admits(token)) {
      throw new Refused(429, TOO_MANY);
    }
    if (token == null) {
      response.header(HttpHeaderNames.WWW_AUTHENTICATE, "Bearer");
      throw new Refused(401, "show a token: Authorization: Bearer <token>");
    }
    List<String> path = path(request);
    if (path.equals(List.of(VERSION, "stats"))) {
      method(request, HttpMethod.GET);
      return summaries(response);
    }
    if (path.size() < 2 || !path.get(0).equals(VERSION) || !path.get(1).equals("devices")) {
      throw new Refused(404, "there is nothing here: begin at /" + VERSION + "/devices");
    }
    if (path.size() == 2) {
      method(request, HttpMethod.GET);
      return devices(response);
    }
    Export export = exports.get(path.get(2));
    if (export == null) {
      throw new DeviceNotFoundException(
          "export", path.get(2), 0, "no device of this name is exported", "see /v1/devices");
    }
    return device(request, response, export, token, path.subList(3, path.size()));
  }

  private Publisher<Void> page(HttpServerRequest request, HttpServerResponse response, Page page) {
    if (!access.admits(null)) {
      throw new Refused(429, TOO_MANY);
    }
    method(request, HttpMethod.GET);
    return page.send(response);
  }

  private Publisher<Void> device(
      HttpServerRequest request,
      HttpServerResponse response,
      Export export,
      Access.Token token,
      List<String> path) {
    DeviceCalls calls = new DeviceCalls(export, token.permissions());
    String what = path.isEmpty() ? "" : path.get(0);
    Query query = new Query(request.uri());
    return switch (path.size() + what) {
      case "0" -> {
        method(request, HttpMethod.GET);
        yield info(response, export, calls);
      }
      case "1connect" -> {
        method(request, HttpMethod.GET);
        if (!request.requestHeaders().contains(HttpHeaderNames.UPGRADE, "websocket", true)) {
          throw new Refused(426, "this is a WebSocket");
        }
        yield upgrade.connect(export, token, response);
      }
      case "1counters" -> {
        method(request, HttpMethod.GET);
        yield counters(response, export);
      }
      case "1regions" -> {
        method(request, HttpMethod.GET);
        yield regions(response, export, calls);
      }
      case "1stats" -> {
        method(request, HttpMethod.GET);
        yield watch(export).stats().flatMap(stats -> json(response, stats));
      }
      case "2stats" -> {
        method(request, HttpMethod.GET);
        if (!path.get(1).equals("events")) {
          throw new Refused(404, "stats have events");
        }
        Flux<byte[]> events = watch(export).events();
        yield watch(export)
            .requireOpen()
            .then(Mono.defer(() -> response
                .sse()
                .send(events.map(Unpooled::wrappedBuffer), any -> true)
                .then()));
      }
      case "2config" -> {
        method(request, HttpMethod.GET);
        if (!path.get(1).equals("decoded")) {
          throw new Refused(404, "config space is there decoded, or not");
        }
        yield ConfigView.read(calls).flatMap(view -> json(response, view));
      }
      case "1config" -> data(request, response, calls, Regions.CONFIG, query);
      case "3regions" -> {
        if (!path.get(2).equals("data")) {
          throw new Refused(404, "a region has data");
        }
        yield data(request, response, calls, number(path.get(1), "a region"), query);
      }
      case "1irqs" -> {
        method(request, HttpMethod.GET);
        yield irqs(response, export, calls);
      }
      case "4irqs" ->
        irq(
            request,
            response,
            calls,
            number(path.get(1), "an interrupt index"),
            number(path.get(2), "a vector"),
            path.get(3));
      case "1reset" -> {
        method(request, HttpMethod.POST);
        yield done(response, calls.reset());
      }
      case "1hot-reset" -> {
        method(request, HttpMethod.POST);
        yield done(response, calls.hotReset());
      }
      case "2features" ->
        feature(request, response, calls, number(path.get(1), "a feature"), query);
      default -> throw new Refused(404, "an exported device has nothing of this name");
    };
  }

  // ---- what is asked

  private static List<String> path(HttpServerRequest request) {
    String uri = request.uri();
    int end = uri.indexOf('?');
    String raw = end < 0 ? uri : uri.substring(0, end);
    List<String> path = new ArrayList<>();
    for (String part : raw.split("/", 16)) {
      if (!part.isEmpty()) {
        path.add(decode(part));
      }
    }
    return path;
  }

  private static String decode(String text) {
    // A plus sign is one in a path.
    return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
  }

  private static void method(HttpServerRequest request, HttpMethod method) {
    if (!request.method().equals(method)) {
      throw new Refused(405, "this takes " + method);
    }
  }

  private static int number(String text, String what) {
    long value = longNumber(text, what);
    if (value > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(what + " is too large: " + value);
    }
    return (int) value;
  }

  private static long longNumber(String text, String what) {
    try {
      long value =
          text.startsWith("0x") ? Long.parseLong(text.substring(2), 16) : Long.parseLong(text);
      if (value >= 0) {
        return value;
      }
    } catch (NumberFormatException e) {
      // Said below.
    }
    throw new IllegalArgumentException(what + " is a number from 0, decimal or 0x...");
  }

  /** What follows the question mark. */
  private static final class Query {
    private final String query;

    Query(String uri) {
      int start = uri.indexOf('?');
      this.query = start < 0 ? "" : uri.substring(start + 1);
    }

    long number(String name, long otherwise) {
      for (String part : query.split("&", 16)) {
        if (part.startsWith(name + "=")) {
          return longNumber(part.substring(name.length() + 1), name);
        }
      }
      return otherwise;
    }
  }

  private Mono<byte[]> content(HttpServerRequest request) {
    return request
        .receive()
        .collect(() -> new Content(limits.messageBytes()), Content::add)
        .map(Content::whole);
  }

  /**
   * What a request brings. What is too long is taken in all the same, up to a point, and thrown away: a client that still sends does
   * not hear the refusal.
   */
  private static final class Content {
    private static final int PATIENCE = 64;

    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private final int most;
    private long length;

    Content(int most) {
      this.most = most;
    }

    void add(ByteBuf piece) {
      length += piece.readableBytes();
      if (length <= most) {
        byte[] copy = new byte[piece.readableBytes()];
        piece.readBytes(copy);
        bytes.write(copy, 0, copy.length);
      } else if (length > (long) most * PATIENCE) {
        throw tooLong();
      }
    }

    byte[] whole() {
      if (length > most) {
        throw tooLong();
      }
      return bytes.toByteArray();
    }

    private Refused tooLong() {
      return new Refused(413, "a request has at most " + most + " bytes");
    }
  }

  private static ByteBuffer bytes(byte[] json) {
    return ByteBuffer.wrap(HexFormat.of().parseHex(Json.onlyText(json, "data")));
  }

  // ---- what is answered

  private static Mono<Void> json(HttpServerResponse response, Json.Content content) {
    byte[] bytes = Json.object(content);
    return response
        .header(HttpHeaderNames.CONTENT_TYPE, JSON)
        .header(HttpHeaderNames.CONTENT_LENGTH, Integer.toString(bytes.length))
        .send(Mono.just(Unpooled.wrappedBuffer(bytes)))
        .then();
  }

  private static Mono<Void> done(HttpServerResponse response, Mono<?> operation) {
    return operation.then(Mono.defer(() -> response.status(204).send()));
  }

  private Mono<Void> devices(HttpServerResponse response) {
    return json(response, json -> {
      json.writeArrayFieldStart("devices");
      for (Export export : exports.values()) {
        json.writeStartObject();
        json.writeStringField("name", export.name());
        json.writeStringField("kind", export.device().info().kind().name());
        json.writeEndObject();
      }
      json.writeEndArray();
    });
  }

  private Watch watch(Export export) {
    return watches.apply(export);
  }

  private Mono<Void> summaries(HttpServerResponse response) {
    return Flux.fromIterable(exports.values())
        .flatMapSequential(export -> watch(export).summary())
        .collectList()
        .flatMap(all -> json(response, json -> {
          json.writeArrayFieldStart("devices");
          for (Json.Content each : all) {
            json.writeStartObject();
            each.write(json);
            json.writeEndObject();
          }
          json.writeEndArray();
        }));
  }

  private static Mono<Void> info(HttpServerResponse response, Export export, DeviceCalls calls) {
    return calls
        .operations()
        .deviceInfo()
        .flatMap(info -> json(response, json -> {
          json.writeStringField("name", export.name());
          json.writeStringField("kind", info.kind().name());
          json.writeNumberField("flags", info.flags());
          json.writeNumberField("regions", info.regionCount());
          json.writeNumberField("irqs", info.irqCount());
          json.writeBooleanField("resettable", info.resettable());
          json.writeBooleanField("isolated", export.device().isolated());
          json.writeArrayFieldStart("allowed");
          for (Permission permission : calls.allowed()) {
            json.writeString(permission.name());
          }
          json.writeEndArray();
        }));
  }

  private static Mono<Void> counters(HttpServerResponse response, Export export) {
    Export.Counters counters = export.counters();
    return json(response, json -> {
      json.writeNumberField("sessions", counters.sessions.sum());
      json.writeNumberField("resumed", counters.resumed.sum());
      json.writeNumberField("calls", counters.calls.sum());
      json.writeNumberField("failures", counters.failures.sum());
      json.writeNumberField("elements", counters.elements.sum());
    });
  }

  private static Mono<Void> regions(HttpServerResponse response, Export export, DeviceCalls calls) {
    return Flux.range(0, export.device().info().regionCount())
        .concatMap(index -> calls
            .operations()
            .regionInfo(index)
            .onErrorResume(
                e -> e instanceof VfioException refusal && refusal.errno() == EINVAL,
                e -> Mono.just(new RegionInfo(index, 0, 0, 0, List.of()))))
        .collectList()
        .flatMap(all -> json(response, json -> {
          json.writeArrayFieldStart("regions");
          for (RegionInfo region : all) {
            json.writeStartObject();
            json.writeNumberField("index", region.index());
            json.writeNumberField("flags", region.flags());
            json.writeNumberField("size", region.size());
            json.writeBooleanField("readable", region.readable());
            json.writeBooleanField("writable", region.writable());
            json.writeEndObject();
          }
          json.writeEndArray();
        }));
  }

  private Mono<Void> data(
      HttpServerRequest request,
      HttpServerResponse response,
      DeviceCalls calls,
      int region,
      Query query) {
    long offset = query.number("offset", 0);
    if (request.method().equals(HttpMethod.PUT)) {
      return content(request)
          .flatMap(json -> calls.write(region, offset, bytes(json)))
          .flatMap(count -> json(response, json -> json.writeNumberField("count", count)));
    }
    method(request, HttpMethod.GET);
    long length = query.number("length", DEFAULT_LENGTH);
    if (length > limits.messageBytes()) {
      throw new IllegalArgumentException(
          "at most " + limits.messageBytes() + " bytes are read at once");
    }
    ByteBuffer bytes = ByteBuffer.allocate((int) length);
    return calls
        .read(region, offset, bytes)
        .flatMap(count -> json(response, json -> {
          json.writeNumberField("region", region);
          json.writeNumberField("offset", offset);
          json.writeNumberField("count", count);
          json.writeStringField("data", HexFormat.of().formatHex(bytes.array(), 0, count));
        }));
  }

  private static Mono<Void> irqs(HttpServerResponse response, Export export, DeviceCalls calls) {
    Interrupts interrupts = export.device().interrupts();
    return Flux.range(0, export.device().info().irqCount())
        .concatMap(index -> calls
            .operations()
            .irqInfo(index)
            .onErrorResume(
                e -> e instanceof VfioException refusal && refusal.errno() == EINVAL,
                e -> Mono.just(new IrqInfo(index, 0, 0))))
        .collectList()
        .flatMap(all -> json(response, json -> {
          json.writeArrayFieldStart("irqs");
          for (IrqInfo irq : all) {
            json.writeStartObject();
            json.writeNumberField("index", irq.index());
            json.writeNumberField("flags", irq.flags());
            json.writeNumberField("count", irq.count());
            json.writeBooleanField("enabled", interrupts.isEnabled(irq.index()));
            json.writeEndObject();
          }
          json.writeEndArray();
        }));
  }

  private Publisher<Void> irq(
      HttpServerRequest request,
      HttpServerResponse response,
      DeviceCalls calls,
      int index,
      int vector,
      String what) {
    if (what.equals("events")) {
      method(request, HttpMethod.GET);
      return events(response, calls, index, vector);
    }
    if (what.equals("trigger")) {
      method(request, HttpMethod.POST);
      calls.require(Permission.TRIGGER, "VFIO_DEVICE_SET_IRQS");
      return done(
          response, calls.operations().setIrqs(IrqSet.of(index, IrqSet.Action.TRIGGER, vector, 1)));
    }
    throw new Refused(404, "a vector has events, and a trigger");
  }

  /** The signals of a vector that the owner has armed. A connection that does not take them is not written to. */
  private static Publisher<Void> events(
      HttpServerResponse response, DeviceCalls calls, int index, int vector) {
    Flux<Interrupt> signals = calls.device().interrupts().armed(index, vector);
    AtomicLong total = new AtomicLong();
    Flux<byte[]> events = signals.map(interrupt -> {
      if (interrupt instanceof IntxInterrupt line) {
        // Who only watches holds nothing up.
        line.acknowledge();
      }
      return event(interrupt, total.addAndGet(interrupt.count()));
    });
    // The refusal of a vector that is not armed comes before the head of the response.
    return Flux.from(events.map(Unpooled::wrappedBuffer))
        .as(body -> refusalOf(calls, index, vector)
            .then(Mono.defer(() -> response.sse().send(body, any -> true).then())));
  }

  private static Mono<Void> refusalOf(DeviceCalls calls, int index, int vector) {
    return Mono.create(sink -> {
      CoreSubscriber<Interrupt> probe = new CoreSubscriber<>() {
        @Override
        public void onSubscribe(Subscription subscription) {
          // Asks for nothing: what comes is the refusal, or nothing.
          subscription.cancel();
        }

        @Override
        public void onNext(Interrupt interrupt) {
          // Was not asked for.
        }

        @Override
        public void onError(Throwable e) {
          sink.error(e);
        }

        @Override
        public void onComplete() {
          // As good as not refused.
        }
      };
      calls.device().interrupts().armed(index, vector).subscribe(probe);
      sink.success();
    });
  }

  private static byte[] event(Interrupt interrupt, long total) {
    byte[] data = Json.object(json -> {
      json.writeNumberField("index", interrupt.index());
      json.writeNumberField("vector", interrupt.vector());
      json.writeNumberField("count", interrupt.count());
      json.writeNumberField("total", total);
    });
    byte[] before =
        ("event: signals\nid: " + total + "\ndata: ").getBytes(StandardCharsets.US_ASCII);
    ByteBuffer event = ByteBuffer.allocate(before.length + data.length + 2);
    return event.put(before).put(data).put((byte) '\n').put((byte) '\n').array();
  }

  private Mono<Void> feature(
      HttpServerRequest request,
      HttpServerResponse response,
      DeviceCalls calls,
      int feature,
      Query query) {
    if (request.method().equals(HttpMethod.PUT)) {
      return done(
          response,
          content(request)
              .flatMap(json -> calls.feature(FeatureRequest.set(feature, bytes(json)))));
    }
    method(request, HttpMethod.GET);
    int size = (int) Math.min(query.number("size", 0), 0x10000);
    return calls
        .feature(FeatureRequest.get(feature, size))
        .flatMap(data -> json(
            response,
            json -> json.writeStringField("data", HexFormat.of().formatHex(Bodies.copy(data)))));
  }

  // ---- failures

  private static Mono<Void> failed(HttpServerResponse response, Throwable e) {
    if (response.hasSentHeaders()) {
      LOG.debug("a response broke off", e);
      return Mono.error(e);
    }
    if (e instanceof Refused refused) {
      if (refused.status == 413) {
        response.keepAlive(false);
      }
      return json(response.status(refused.status), json -> error(json, "Refused", e));
    }
    int status = status(e);
    if (status == 500) {
      LOG.error("a request failed", e);
    }
    Failure failure = Failure.of(e, "request", "");
    return json(response.status(status), json -> {
      json.writeStringField("error", failure.type());
      json.writeStringField("problem", failure.problem());
      json.writeStringField("remedy", failure.remedy());
      json.writeStringField("operation", failure.operation());
      json.writeStringField("device", failure.device());
      json.writeNumberField("errno", failure.errno());
    });
  }

  private static void error(JsonGenerator json, String type, Throwable e) throws IOException {
    json.writeStringField("error", type);
    json.writeStringField("problem", e.getMessage());
  }

  private static int status(@Nullable Throwable e) {
    if (e instanceof PermissionDeniedException) {
      return 403;
    }
    if (e instanceof DeviceNotFoundException) {
      return 404;
    }
    if (e instanceof DeviceClosedException || e instanceof DeviceLostException) {
      return 410;
    }
    if (e instanceof NotSupportedException) {
      return 501;
    }
    if (e instanceof DeviceBusyException
        || e instanceof InterruptConflictException
        || e instanceof IllegalStateException) {
      return 409;
    }
    if (e instanceof VfioException
        || e instanceof IllegalArgumentException
        || e instanceof IndexOutOfBoundsException) {
      return 400;
    }
    return 500;
  }
}
