package org.reactorvfio.bridge;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.RegionInfo;

/** What a client and a server never send each other: frames, what is in them, and JSON. */
class BridgeFuzzTest {
  private static final int MESSAGE = BridgeLimits.defaults().messageBytes();

  private static byte[] call(CallType type, Body body) {
    return FrameCodec.encode(new Frame.Call(7, type, body));
  }

  private static byte[] result(CallType type, Body body) {
    return FrameCodec.encode(new Frame.Result(type.ordinal(), body));
  }

  /** As a server takes a client's frame apart: the arguments of a call, too. */
  private static void take(Frame frame) {
    Fuzz.look(frame);
    if (!(frame instanceof Frame.Call call)) {
      return;
    }
    Body body = call.body();
    switch (call.type()) {
      case REGION_INFO, IRQ_INFO -> Fuzz.look(Bodies.number(body));
      case READ -> {
        Bodies.Range range = Bodies.Range.read(body, MESSAGE);
        if (range.region() < 0 || range.length() < 0 || range.length() > MESSAGE) {
          throw new AssertionError(range);
        }
      }
      case WRITE -> {
        Bodies.Write write = Bodies.Write.read(body);
        if (write.region() < 0 || write.data().remaining() > MESSAGE) {
          throw new AssertionError(write);
        }
      }
      case FEATURE -> Fuzz.look(Bodies.feature(body));
      case SET_IRQS -> {
        IrqRequest request = IrqRequest.read(body);
        // Another eventfd than a trigger's is refused before this.
        if (request.action() == IrqSet.Action.TRIGGER || request.data() != IrqSet.Data.EVENTFD) {
          IrqSet set = request.toIrqSet(new int[request.values().size()]);
          if (set.count() != request.count() || set.start() != request.start()) {
            throw new AssertionError(set + " of " + request);
          }
        }
      }
      case DEVICE_INFO, RESET, HOT_RESET_INFO, HOT_RESET -> {
        // Without arguments.
      }
    }
  }

  @Test
  void anythingFromAClientIsReadOrRefused() {
    IrqRequest assign = new IrqRequest(
        2,
        IrqSet.Action.TRIGGER,
        IrqSet.Data.EVENTFD,
        1,
        3,
        List.of(IrqRequest.STREAM, -1, IrqRequest.NO_EVENTFD),
        List.of(5, 0, 0));
    IrqRequest mask =
        new IrqRequest(2, IrqSet.Action.MASK, IrqSet.Data.BOOL, 0, 2, List.of(1, 0), List.of());
    IrqRequest fire =
        new IrqRequest(2, IrqSet.Action.TRIGGER, IrqSet.Data.NONE, 0, 2, List.of(), List.of());
    Fuzz.of("bridge-client")
        .image(FrameCodec.encode(new Frame.Hello(1, new Session(1, -1), List.of(3, 0, 9))))
        .image(FrameCodec.encode(new Frame.Request(5, 100)))
        .image(FrameCodec.encode(new Frame.Ping()))
        .image(FrameCodec.encode(new Frame.Goodbye()))
        .image(call(CallType.DEVICE_INFO, Body.EMPTY))
        .image(call(CallType.REGION_INFO, Bodies.number(7)))
        .image(call(CallType.SET_IRQS, assign.toBody()))
        .image(call(CallType.SET_IRQS, mask.toBody()))
        .image(call(CallType.SET_IRQS, fire.toBody()))
        .image(call(CallType.READ, new Bodies.Range(7, 0x40, 256).toBody()))
        .image(call(CallType.WRITE, new Bodies.Write(0, 8, ByteBuffer.allocate(16)).toBody()))
        .image(call(CallType.FEATURE, Bodies.feature(FeatureRequest.busMaster(true))))
        .image(call(CallType.FEATURE, Bodies.feature(FeatureRequest.probe(3, true, false))))
        .refusedBy(MalformedFrameException.class)
        .guidedBy(FrameCodec.class, WireReader.class, Bodies.class, IrqRequest.class, Frame.class)
        .run(image -> take(FrameCodec.fromClient(ByteBuffer.wrap(image))));
  }

  /** As a client takes a server's frame apart: the result of any call, too. */
  private static void hear(Frame frame) {
    Fuzz.look(frame);
    if (frame instanceof Frame.Failed failed) {
      Fuzz.look(failed.failure().toException());
    } else if (frame instanceof Frame.Closing closing) {
      Fuzz.look(closing.failure().toException());
    } else if (frame instanceof Frame.Ended ended && ended.failure() != null) {
      Fuzz.look(ended.failure().toException());
    } else if (frame instanceof Frame.Result result) {
      Body body = result.body();
      CallType[] types = CallType.values();
      switch (types[result.id() % types.length]) {
        case DEVICE_INFO -> Fuzz.look(Bodies.deviceInfo(body));
        case REGION_INFO -> {
          RegionInfo info = Bodies.regionInfo(body);
          Fuzz.look(info, info.type(), info.mappableAreas());
        }
        case IRQ_INFO -> Fuzz.look(Bodies.irqInfo(body));
        case HOT_RESET_INFO -> Fuzz.look(Bodies.hotResetInfo(body));
        case SET_IRQS, WRITE -> Fuzz.look(Bodies.number(body));
        case READ, FEATURE, RESET, HOT_RESET -> {
          // Bytes, or nothing.
        }
      }
    }
  }

  @Test
  void anythingFromAServerIsReadOrRefused() {
    Capability type = new Capability(RegionInfo.CAP_TYPE, 1, new byte[] {1, 2, 3, 4, 5, 6, 7, 8});
    Failure failure = Failure.of(
        new NotSupportedException("reset", "a device", 25, "it has none", "use another"), "", "");
    HotResetInfo reset = new HotResetInfo(List.of(
        new HotResetInfo.Affected("0000:00:04.0", 7, true),
        new HotResetInfo.Affected("0000:00:04.1", 8, false)));
    Fuzz.of("bridge-server")
        .image(FrameCodec.encode(
            new Frame.Welcome(new Session(4, 5), true, "a device", false, 30_000, 65_536, 64)))
        .image(FrameCodec.encode(new Frame.Failed(9, failure)))
        .image(FrameCodec.encode(new Frame.Signals(2, 77)))
        .image(FrameCodec.encode(new Frame.Ended(2, failure)))
        .image(FrameCodec.encode(new Frame.Pong()))
        .image(FrameCodec.encode(new Frame.Closing(failure)))
        .image(
            result(CallType.DEVICE_INFO, Bodies.deviceInfo(new DeviceInfo(3, 9, 5, List.of(type)))))
        .image(result(
            CallType.REGION_INFO,
            Bodies.regionInfo(new RegionInfo(9, 3, 4096, 0, List.of(type, type)))))
        .image(result(CallType.IRQ_INFO, Bodies.irqInfo(new IrqInfo(2, 9, 64))))
        .image(result(CallType.HOT_RESET_INFO, Bodies.hotResetInfo(reset)))
        .image(result(CallType.WRITE, Bodies.number(16)))
        .words("VfioException", "InsufficientVectorsException", "IllegalStateException")
        .refusedBy(MalformedFrameException.class)
        .guidedBy(FrameCodec.class, WireReader.class, Bodies.class, Failure.class, Frame.class)
        .run(image -> hear(FrameCodec.fromServer(ByteBuffer.wrap(image))));
  }

  @Test
  void anyJsonIsReadOrRefused() {
    byte[] data = "{\"data\": \"00ff\"}".getBytes(StandardCharsets.UTF_8);
    byte[] devices = Json.object(json -> {
      json.writeArrayFieldStart("devices");
      for (String name : List.of("edu", "n\u00e4me \u2192")) {
        json.writeStartObject();
        json.writeStringField("name", name);
        json.writeNumberField("flags", 0x7fff_ffff);
        json.writeEndObject();
      }
      json.writeEndArray();
    });
    Fuzz.of("bridge-json")
        .image(data)
        .words("{", "}", "[", "]", "\"", ":", ",", "\\u0000", "1e999", "null", "\"data\"")
        .refusedBy(IllegalArgumentException.class)
        .guidedBy(Json.class)
        .run(image -> Json.onlyText(image, "data"));
    Fuzz.of("bridge-json-names")
        .image(devices)
        .words("{", "}", "[", "]", "\"", ":", ",", "\\ud800", "1e999", "null", "\"name\"")
        .refusedBy(IllegalArgumentException.class)
        .guidedBy(Json.class)
        .run(image -> Json.texts(image, "name").forEach(Objects::requireNonNull));
  }
}
